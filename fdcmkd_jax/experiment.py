"""A whole run: data, teachers, students, evaluation, report."""

import dataclasses
import functools
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import ml_collections
import optax

from fdcmkd_jax import checkpoint, evaluation, loop, methods
from fdcmkd_jax import plan as plans
from fdcmkd_jax.checkpoint import load_weights
from fdcmkd_jax.log import read_json, write_json
from fdcmkd_jax.plan import Plan
from fdcmkd_jax.state import abstract_variables
from fdcmkd_jax.step import to_host
from fdcmkd_jax.tables import ConfigError
from fdcmkd_jax.teachers import Ensemble, join_variables
from fdcmkd_jax.types import Params


def run(
    config: ml_collections.ConfigDict, workdir: str | Path, *, with_report: bool = True
) -> dict[str, Any]:
    """Trains what a config describes and leaves everything in ``workdir``.

    Called again with the same config it continues where it was cut off, or returns the results it
    finds. Nothing is written outside ``workdir``, unless the config names another data folder.

    Args:
        config: One section per part; see ``configs/av_digits.py``.
        workdir: The run's folder; made if missing.
        with_report: Write ``report.html`` and print the table; ``python -m fdcmkd_jax.report`` can
            do so later.

    Returns:
        The contents of ``results.json``.

    Raises:
        ConfigError: On a mistake in the config, missing data, or a workdir of another config.
        NonFiniteError: If training diverges.
    """
    workdir = Path(workdir).absolute()
    settings = plans.resolve(config)
    plan = plans.build(settings, workdir)
    finished = workdir / "results.json"
    if not finished.is_file():
        for given in (plan.given_teachers, plan.given_starts):
            for modality, folder in given.items():
                _load_given(plan, modality, folder)  # Wrong now, not once the workdir is taken.
    _claim(workdir, settings)
    if finished.is_file():
        results = read_json(finished)
        _say(f"{workdir} is finished; delete it or choose another --workdir to train anew.")
    else:
        results = _train(plan, settings)
        if jax.process_index() == 0:
            write_json(finished, results)
    if with_report and jax.process_index() == 0:
        from fdcmkd_jax import report  # Figures take long to import, and only the end needs them.

        page = workdir / "report.html"
        if not page.is_file():
            page = report.write(workdir)
        _say(table(results))
        _say(f"report: {page}")
    return results


def table(results: Mapping[str, Any]) -> str:
    """The results as a short text table, accuracies in percent."""
    rows = [("model", "val %", "test %", "last %", "step")]
    for kind, entries in (("teacher", results["teachers"]), ("student", results["students"])):
        for name, entry in entries.items():
            rows.append((f"{kind} {name}", *_cells(entry), str(entry["selected_step"])))
            for head, found in entry["heads"].items():
                rows.append((f"  {head}", _percent(found["val"]), _percent(found["test"]), "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def teacher_job(plan: Plan, modality: str) -> loop.Job:
    """The training of one modality's teacher."""
    return loop.Job(
        name=f"teachers/{modality}",
        title=f"teacher {modality}",
        model=plan.models[modality],
        modality=modality,
        method=methods.none(),
        weights={"task": 1.0},
        teacher=None,
        train=plan.teacher_view,
        num_epochs=plan.teacher.num_epochs,
        make_optimizer=plan.make_optimizer,
    )


def student_job(
    plan: Plan,
    weights: Mapping[str, float],
    direction: plans.Direction,
    trained: Mapping[str, loop.Teacher],
) -> loop.Job:
    """The training of one direction's student, by its teachers among the trained ones."""
    if plan.method.several_teachers:
        teacher = loop.Teacher(
            Ensemble({name: plan.models[name] for name in direction.teachers}),
            direction.teachers,
            join_variables({name: trained[name].variables for name in direction.teachers}),
        )
    else:
        (name,) = direction.teachers
        teacher = trained[name]
    return loop.Job(
        name=direction.folder,
        title=f"student {direction}",
        model=plan.models[direction.student],
        modality=direction.student,
        method=plan.method,
        weights=weights,
        teacher=teacher,
        train=plan.student_view,
        num_epochs=plan.harness.train.num_epochs,
        make_optimizer=plan.make_optimizer,
    )


def _train(plan: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All teachers, then all students."""
    harness = plan.harness
    results: dict[str, Any] = {
        "seed": harness.seed,
        "class_names": list(plan.dataset.class_names),
        "teachers": {},
        "students": {},
    }
    teachers = {}
    for modality in plan.taught_by:
        folder = f"teachers/{modality}"
        if modality in plan.given_teachers:
            entry = _once(harness, folder, functools.partial(_adopt, plan, modality))
            source = plan.given_teachers[modality]
        else:
            job = teacher_job(plan, modality)
            _describe(plan, settings, folder, modality)
            work = loop.fit if job.num_epochs else _leave_untrained
            entry = _once(harness, folder, functools.partial(work, job, harness))
            source = harness.workdir / folder
        results["teachers"][modality] = entry
        variables, _ = load_weights(source, _abstract_variables(plan, modality))
        teachers[modality] = loop.Teacher(plan.models[modality], modality, variables)
        _say(f"teacher {modality}: {_percent(entry['test'])} % on the test split")
    starts = {
        modality: _load_given(plan, modality, folder)[0]
        for modality, folder in plan.given_starts.items()
    }
    for direction in plan.directions:
        job = student_job(plan, settings["weights"], direction, teachers)
        if direction.student in starts:
            job = dataclasses.replace(job, weights_at_start=starts[direction.student])
        _describe(plan, settings, direction.folder, direction.student)
        entry = _once(harness, direction.folder, functools.partial(loop.fit, job, harness))
        results["students"][str(direction)] = entry
        _say(f"student {direction}: {_percent(entry['test'])} % on the test split")
    return results


def _describe(plan: Plan, settings: Mapping[str, Any], folder: str, modality: str) -> None:
    """Leaves beside a model's weights what they are the weights of."""
    description = checkpoint.Description(
        modality=modality,
        model=settings["models"][modality],
        num_classes=plan.harness.task.num_classes,
        input_shape=plan.teacher_view[0][modality].shape,
    )
    if jax.process_index() == 0:
        description.write(plan.harness.workdir / folder)


def _once(harness: loop.Harness, folder: str, work: Callable[[], dict]) -> dict[str, Any]:
    """A model's entry: read if it is finished, else made."""
    path = harness.workdir / folder / "results.json"
    if path.is_file():
        return read_json(path)
    return work()


def _load_given(plan: Plan, modality: str, given: Path) -> tuple[Params, int]:
    """The weights of a model of an earlier run or of elsewhere, and their step.

    Raises:
        ConfigError: If there is none, it is of another model, or its run drew other splits.
    """
    found = load_weights(given, _abstract_variables(plan, modality))
    origin = given.absolute().parents[1] / "config.json"
    if origin.is_file():
        seed = read_json(origin)["seed"]
        if seed != plan.harness.seed:
            raise ConfigError(
                f"the model in {given} was trained with seed {seed}, this run has seed "
                f"{plan.harness.seed}: it may have seen this run's test examples."
            )
    return found


def _adopt(plan: Plan, modality: str) -> dict[str, Any]:
    """The entry of a teacher trained by an earlier run, evaluated on this run's splits."""
    given = plan.given_teachers[modality]
    variables, step = _load_given(plan, modality, given)
    evaluator = plan.harness.evaluator(plan.models[modality], modality, methods.none())
    folder = plan.harness.workdir / "teachers" / modality
    about = {"loaded_from": str(given)}
    return _record(plan.harness, evaluator, folder, variables, step, about)


def _leave_untrained(job: loop.Job, harness: loop.Harness) -> dict[str, Any]:
    """The entry of a teacher as training would start from it: a control."""
    folder = harness.workdir / job.name
    variables = to_host(loop.start(job, harness, optax.identity()).variables)
    with checkpoint.Checkpoints(folder / "checkpoints") as checkpoints:
        if checkpoints.latest is None:
            checkpoints.save_weights(0, variables)
    evaluator = harness.evaluator(job.model, job.modality, job.method)
    about = {"selection": "none: as drawn, not trained"}
    return _record(harness, evaluator, folder, variables, 0, about)


def _record(
    harness: loop.Harness,
    evaluator: evaluation.Evaluator,
    folder: Path,
    variables: Params,
    step: int,
    about: Mapping[str, str],
) -> dict[str, Any]:
    """Evaluates a teacher that this run does not train, and leaves its entry."""
    weights = evaluation.Weights(harness.devices.replicate(variables), {})
    entry, examples = evaluation.record(evaluator, harness.evaluate, harness.splits, weights, None)
    entry = {"selected_step": step, **entry, **about, "seconds": 0.0}
    entry["last"] = {"step": step, **entry["last"]}
    loop.finish(folder, entry, examples)
    return entry


def _abstract_variables(plan: Plan, modality: str) -> dict[str, Any]:
    """The shapes of a model's parameters and statistics."""
    return abstract_variables(plan.models[modality], plan.teacher_view[0][modality][None])


def _claim(workdir: Path, settings: Mapping[str, Any]) -> None:
    """Marks the workdir as this config's.

    Raises:
        ConfigError: If it is another config's, with the differences.
    """
    path = workdir / "config.json"
    if path.is_file():
        found = read_json(path)
        changes = list(differences(found, settings))
        if changes:
            raise ConfigError(
                f"{workdir} holds a run of another config ({'; '.join(changes)}); "
                "choose another --workdir, or delete this one."
            )
    elif jax.process_index() == 0:
        write_json(path, settings)
    if jax.process_index() == 0:
        write_json(workdir / "environment.json", _environment())


def differences(found: Any, now: Any, path: str = "") -> Iterator[str]:
    """Says of each value that two trees of plain data disagree on what it is in both.

    Example:
        >>> list(differences({"train": {"num_epochs": 1}}, {"train": {"num_epochs": 2}}))
        ['train.num_epochs: 1 there, 2 now']
    """
    if isinstance(found, dict) and isinstance(now, dict):
        for key in sorted({*found, *now}):
            below = f"{path}.{key}" if path else key
            yield from differences(found.get(key), now.get(key), below)
    elif found != now:
        yield f"{path}: {found!r} there, {now!r} now"


def _environment() -> dict[str, Any]:
    """Versions, devices, revision and command of this run."""
    packages = (
        "fdcmkd-jax",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax-checkpoint",
        "grain",
        "numpy",
    )
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        git = "unknown"
    return {
        "versions": {name: _version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [f"{d.platform} {d.device_kind}" for d in jax.devices()],
        "processes": jax.process_count(),
        "git_revision": git,
        "command": shlex.join(sys.argv),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cells(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _percent(entry["val"]),
        _percent(entry["test"]),
        _percent(entry["last"]["test"]),
    )


def _percent(found: Mapping[str, float]) -> str:
    return f"{100 * found['accuracy']:.1f}"


def _say(text: str) -> None:
    if jax.process_index() == 0:
        print(text, flush=True)
