"""A whole run: data, teachers, students, evaluation, report."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from fdcmkd_jax import config as configs
from fdcmkd_jax.config import Plan
from fdcmkd_jax.config.jobs import student_job, teacher_job
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import environment, evaluation, loop
from fdcmkd_jax.training.checkpoint import Checkpoints, load_variables
from fdcmkd_jax.training.description import ModelDescription
from fdcmkd_jax.training.devices import to_host
from fdcmkd_jax.training.job import Job, RunContext
from fdcmkd_jax.training.lock import locked
from fdcmkd_jax.training.log import read_json, write_json
from fdcmkd_jax.training.start import initial_state
from fdcmkd_jax.training.state import abstract_variables
from fdcmkd_jax.training.stop import StoppedError, stop_on_sigterm
from fdcmkd_jax.training.teachers import Teacher
from fdcmkd_jax.types import Params


def run(
    config: ml_collections.ConfigDict, workdir: str | Path, *, with_report: bool = True
) -> dict[str, Any]:
    """Trains what a config describes and leaves everything in ``workdir``.

    Called again with the same config, it continues where it was cut off, or returns the results of
    the finished run. Nothing is written outside ``workdir``, unless the config names another data
    folder. On SIGTERM it saves its state and raises `StoppedError`.

    Args:
        config: One section per part; see ``configs/av_digits.py``.
        workdir: The run's folder; made if missing.
        with_report: Write ``report.html`` and print the table; ``fdcmkd-jax report`` can do so
            later.

    Returns:
        The contents of ``results.json``.

    Raises:
        ConfigError: On a mistake in the config, missing data, a workdir of another config, or one
            in which another process is training.
        NonFiniteError: If training diverges.
        StoppedError: If SIGTERM arrived; the same call continues the run.
    """
    workdir = Path(workdir).absolute()
    settings = configs.resolve(config)
    if jax.process_index():  # The first process holds the lock for all.
        return _run(settings, workdir, with_report=False)
    with locked(workdir, "training"):
        return _run(settings, workdir, with_report=with_report)


def _run(settings: Mapping[str, Any], workdir: Path, *, with_report: bool) -> dict[str, Any]:
    _check_same_config(workdir, settings)
    finished = workdir / "results.json"
    if finished.is_file():
        results = read_json(finished)
        _print(f"{workdir} is finished; delete it or choose another --workdir to train anew.")
    else:
        with stop_on_sigterm() as stop:
            plan = configs.build(settings, workdir)
            plan = dataclasses.replace(plan, context=dataclasses.replace(plan.context, stop=stop))
            results = _train(plan, settings)
        if jax.process_index() == 0:
            write_json(finished, results)
    if with_report:
        # Figures take long to import, and only the end needs them.
        from fdcmkd_jax import report
        from fdcmkd_jax.report.text import table

        page = workdir / report.FILE_NAME
        if not page.is_file():
            page = report.write(workdir)
        _print(table(results))
        _print(f"report: {page}")
    return results


def _train(plan: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains all teachers, then all students."""
    # Mistakes in folders of models show before the workdir is marked as this config's.
    for modality, folder in plan.all_checkpoints:
        _load_model(plan, modality, folder)
    _mark_workdir(plan.context.workdir, settings)
    results: dict[str, Any] = {
        "seed": plan.context.seed,
        "class_names": list(plan.dataset.class_names),
        "metrics": plan.context.task.describe_metrics(),
        "teachers": {},
        "students": {},
    }
    teachers = {}
    for modality, entry in _teacher_entries(plan).items():
        folder = plan.teacher_checkpoints.get(
            modality, plan.context.workdir / teacher_job(plan, modality).name
        )
        variables, _ = load_variables(folder, _abstract_variables(plan, modality))
        teachers[modality] = Teacher(plan.models[modality], modality, variables)
        results["teachers"][modality] = entry
    jobs = {
        str(direction): _with_start(
            plan, student_job(plan, direction, teachers), plan.start_checkpoints
        )
        for direction in plan.directions
    }
    students = _fit(plan, list(jobs.values()))
    results["students"] = {direction: students[job.name] for direction, job in jobs.items()}
    return results


def _fit(plan: Plan, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """Trains the models that are not finished; returns the entries of all, by folder."""
    entries: dict[str, dict[str, Any]] = {}
    unfinished = []
    for job in jobs:
        entry = _finished_entry(plan, job.name)
        if entry is None:
            _describe_model(plan, job.name, job.modality)
            unfinished.append(job)
        else:
            entries[job.name] = entry
            _print(f"{job.title}: {_score(plan, entry)} on the test split")
    together = plan.context.train.together
    for group in (
        ([unfinished] if together else [[job] for job in unfinished]) if unfinished else []
    ):
        entries |= loop.fit(group, plan.context)
        for job in group:
            _print(f"{job.title}: {_score(plan, entries[job.name])} on the test split")
    return entries


def _teacher_entries(plan: Plan) -> dict[str, dict[str, Any]]:
    """Trains, loads or leaves untrained each teacher; returns their entries by modality."""
    jobs = {
        modality: _with_start(plan, teacher_job(plan, modality), plan.teacher_start_checkpoints)
        for modality in plan.teacher_modalities
    }
    loaded = plan.teacher_checkpoints
    trained = [job for name, job in jobs.items() if name not in loaded and job.num_epochs]
    entries = _fit(plan, trained)
    for modality, job in jobs.items():
        if job.name in entries:
            continue
        entry = _finished_entry(plan, job.name)
        if entry is None and modality in loaded:
            entry = _evaluate_loaded(plan, modality, loaded[modality])
        elif entry is None:
            _describe_model(plan, job.name, modality)
            entry = _leave_untrained(job, plan.context)
        entries[job.name] = entry
        _print(f"{job.title}: {_score(plan, entry)} on the test split")
    return {modality: entries[job.name] for modality, job in jobs.items()}


def _with_start(plan: Plan, job: Job, folders: Mapping[str, Path]) -> Job:
    """Lets a model start from the parameters of a trained one where its modality has a folder."""
    folder = folders.get(job.modality)
    if folder is None:
        return job
    return dataclasses.replace(job, start_variables=_load_model(plan, job.modality, folder)[0])


def _describe_model(plan: Plan, folder: str, modality: str) -> None:
    """Writes the metadata of a model beside its checkpoints."""
    steps = plan.dataset.preprocessing.get(modality)
    record = {"data": plan.data_name, "modality": modality}
    description = ModelDescription(
        modality=modality,
        model=plan.model_settings[modality],
        num_classes=plan.context.task.num_classes,
        input_shape=_input_shape(plan, modality),
        preprocessing={**record, "constants": dict(steps.constants)} if steps else None,
    )
    if jax.process_index() == 0:
        description.write(plan.context.workdir / folder)


def _input_shape(plan: Plan, modality: str) -> tuple[int, ...]:
    """Returns the shape of one input of a modality's network, preprocessed if it is raw."""
    x = plan.input_of(modality)
    if isinstance(x, Mapping):
        x = jax.eval_shape(plan.dataset.preprocessing[modality].function, x)
    return x.shape[1:]


def _finished_entry(plan: Plan, folder: str) -> dict[str, Any] | None:
    """Reads a model's entry if it is finished."""
    path = plan.context.workdir / folder / "results.json"
    return read_json(path) if path.is_file() else None


def _load_model(plan: Plan, modality: str, folder: Path) -> tuple[Params, int]:
    """Loads the variables of a model trained elsewhere, and their step.

    Raises:
        ConfigError: If there is none, it is of another model, or its run drew other splits.
    """
    loaded = load_variables(folder, _abstract_variables(plan, modality))
    origin = folder.absolute().parents[1] / "config.json"
    if origin.is_file() and plan.dataset.seeded_splits:
        seed = read_json(origin)["seed"]
        if seed != plan.context.seed:
            raise ConfigError(
                f"the model in {folder} was trained with seed {seed}, this run has seed "
                f"{plan.context.seed}: it may have seen this run's test examples."
            )
    return loaded


def _evaluate_loaded(plan: Plan, modality: str, folder: Path) -> dict[str, Any]:
    """Evaluates a teacher of an earlier run on this run's splits; returns its entry."""
    variables, step = _load_model(plan, modality, folder)
    job = teacher_job(plan, modality)
    return _record(job, plan.context, variables, step, {"loaded_from": str(folder)})


def _leave_untrained(job: Job, context: RunContext) -> dict[str, Any]:
    """Saves and evaluates a teacher as training would start from it, a control."""
    variables = to_host(initial_state(job, context).variables)
    with Checkpoints(context.workdir / job.name / "checkpoints") as checkpoints:
        if checkpoints.latest is None:
            checkpoints.save_variables(0, variables)
    return _record(job, context, variables, 0, {"selection": "none: untrained"})


def _record(
    job: Job, context: RunContext, variables: Params, step: int, notes: Mapping[str, str]
) -> dict[str, Any]:
    """Evaluates a teacher that this run does not train, and writes its entry."""
    evaluator = context.evaluator(job.model, job.modality, job.method)
    params = evaluation.EvalParams(context.devices.replicate(variables), {})
    entry, examples = evaluation.record(evaluator, context.evaluate, context.splits, params, None)
    entry = {"selected_step": step, **entry, **notes, "seconds": 0.0}
    entry["last"] = {"step": step, **entry["last"]}
    loop.finish(context.workdir / job.name, entry, examples)
    return entry


def _abstract_variables(plan: Plan, modality: str) -> dict[str, Any]:
    """Returns the shapes of a model's parameters and statistics."""
    return abstract_variables(plan.models[modality], plan.input_of(modality))


def _check_same_config(workdir: Path, settings: Mapping[str, Any]) -> None:
    """Checks that the workdir holds no run of another config.

    Raises:
        ConfigError: If it does, with the differences.
    """
    path = workdir / "config.json"
    if not path.is_file():
        return
    changes = list(configs.differences(read_json(path), settings))
    if changes:
        raise ConfigError(
            f"{workdir} holds a run of another config ({'; '.join(changes)}); "
            "choose another --workdir, or delete this one."
        )


def _mark_workdir(workdir: Path, settings: Mapping[str, Any]) -> None:
    """Writes the config and the environment of the run."""
    if jax.process_index() == 0:
        write_json(workdir / "config.json", settings)
        write_json(workdir / "environment.json", environment.capture())


def _score(plan: Plan, entry: Mapping[str, Any]) -> str:
    task = plan.context.task
    return f"{task.label} {100 * entry['test'][task.primary]:.1f} %"


def _print(text: str) -> None:
    if jax.process_index() == 0:
        print(text, flush=True)


__all__ = ["StoppedError", "run", "student_job", "teacher_job"]
