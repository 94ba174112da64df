"""A whole run: data, teachers, students, evaluation, report."""

import dataclasses
import functools
import inspect
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax.experimental import multihost_utils

from fdcmkd_jax import (
    data,
    evaluation,
    loop,
    losses,
    methods,
    models,
    optim,
    tasks,
)
from fdcmkd_jax.checkpoint import load_weights
from fdcmkd_jax.data import augment, pipeline
from fdcmkd_jax.data.pairing import View
from fdcmkd_jax.log import write_json
from fdcmkd_jax.step import AXIS, Devices
from fdcmkd_jax.tables import ConfigError, section, unknown

SECTIONS = (
    "seed",
    "data",
    "task",
    "directions",
    "models",
    "teacher",
    "method",
    "weights",
    "optim",
    "train",
    "evaluate",
    "checkpoint",
)


@dataclasses.dataclass(frozen=True)
class TeacherOptions:
    """Where teachers come from.

    Attributes:
        num_epochs: Epochs of a teacher's own training.
        checkpoints: Per modality, the folder of a model trained earlier (``RUN/teachers/audio``)
            that serves instead; empty to train one here.
    """

    num_epochs: int
    checkpoints: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_epochs < 1:
            raise ValueError(f"num_epochs must be positive, got {self.num_epochs}.")


@dataclasses.dataclass(frozen=True)
class Direction:
    """Who teaches whom: modalities, written ``audio->image``."""

    teacher: str
    student: str

    @classmethod
    def parse(cls, text: str) -> "Direction":
        """Reads ``"audio->image"``.

        Raises:
            ConfigError: If the text has another form or names one modality twice.
        """
        teacher, arrow, student = (part.strip() for part in str(text).partition("->"))
        if not (teacher and arrow and student) or teacher == student:
            raise ConfigError(
                f"a direction is 'teacher->student' with two modalities, got {text!r}."
            )
        return cls(teacher, student)

    def __str__(self) -> str:
        return f"{self.teacher}->{self.student}"

    @property
    def folder(self) -> str:
        """Its folder below the workdir."""
        return f"students/{self.teacher}-to-{self.student}"


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
    settings = resolve(config)
    plan = _plan(settings, workdir)
    _claim(workdir, settings)
    finished = workdir / "results.json"
    if finished.is_file():
        results = json.loads(finished.read_text(encoding="utf-8"))
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


def resolve(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as plain data, with every default a run would use filled in.

    Raises:
        ConfigError: If a section is missing or unknown.
    """
    plain = json.loads(ml_collections.ConfigDict(config).to_json_best_effort())
    for name in plain:
        if name not in SECTIONS:
            raise unknown("config section", name, SECTIONS)
    missing = [name for name in SECTIONS if name not in plain]
    if missing:
        raise ConfigError(f"the config lacks the section {missing[0]!r}.")
    if not isinstance(plain["seed"], int) or not 0 <= plain["seed"] < 2**32:
        raise ConfigError(f"seed must be an integer in [0, 2**32), got {plain['seed']!r}.")
    constructors: dict[str, Callable[..., Any]] = {
        "teacher": TeacherOptions,
        "optim": optim.make,
        "train": loop.Options,
        "evaluate": evaluation.Options,
        "checkpoint": loop.CheckpointOptions,
    }
    for name, table in (("method", methods.TABLE), ("task", tasks.TABLE)):
        if plain[name].get("name") in table:
            constructors[name] = table[plain[name]["name"]]
    for name, constructor in constructors.items():
        plain[name] = {**_defaults(constructor), **plain[name]}
    for modality, options in plain["models"].items():
        if options.get("name") in models.TABLE:
            filled = {**_defaults(models.TABLE[options["name"]]), **options}
            filled.pop("axis_name", None)  # Not the config's to choose.
            plain["models"][modality] = filled
    defaults = {"data_dir": "", **_defaults(pipeline.Options), **_defaults(View)}
    defaults.pop("seed")
    if plain["data"].get("name") in data.TABLE:
        defaults |= _defaults(data.TABLE[plain["data"]["name"]])
    plain["data"] = {**defaults, **plain["data"]}
    return json.loads(json.dumps(plain))


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


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A config turned into the things it describes."""

    harness: loop.Harness
    directions: tuple[Direction, ...]
    dataset: data.Dataset
    teacher_view: View
    student_view: View
    models: Mapping[str, Any]
    method: methods.Method
    teacher: TeacherOptions
    make_optimizer: Callable[..., Any]


def _plan(settings: Mapping[str, Any], workdir: Path) -> _Plan:
    """Builds everything a mistake could hide in, before anything is trained or written."""
    seed = settings["seed"]
    method = methods.make(**settings["method"])
    try:
        losses.check_weights(settings["weights"], ("task", *method.names))
    except ValueError as error:
        raise ConfigError(f"config section weights: {error}") from error
    for name, weight in settings["weights"].items():
        if not isinstance(weight, (int, float)) or not weight >= 0:
            raise ConfigError(f"weights.{name} must be a number, not negative; got {weight!r}.")
    train = section(loop.Options, "train", settings["train"])
    teacher = section(TeacherOptions, "teacher", settings["teacher"])
    evaluate = section(evaluation.Options, "evaluate", settings["evaluate"])
    checkpoint = section(loop.CheckpointOptions, "checkpoint", settings["checkpoint"])
    section(optim.make, "optim", settings["optim"], num_epochs=1, steps_per_epoch=1)
    devices = Devices(train.parallel)

    options = dict(settings["data"])
    batches = section(pipeline.Options, "data", _take(options, pipeline.Options))
    view_options = _take(options, View)
    if "name" not in options:
        raise ConfigError("the config section data needs a name.")
    for batch_size in (batches.batch_size, evaluate.batch_size):
        devices.check(batch_size)
    data_dir = Path(options.pop("data_dir") or workdir / "data").absolute()
    if jax.process_index():
        multihost_utils.sync_global_devices("data prepared")
    dataset = data.make(**options, data_dir=data_dir, seed=seed)
    if not jax.process_index():
        multihost_utils.sync_global_devices("data prepared")
    task = tasks.make(**settings["task"], num_classes=len(dataset.class_names))

    directions = tuple(Direction.parse(text) for text in settings["directions"])
    if not directions:
        raise ConfigError("directions is empty; expected for example ('audio->image',).")
    if len(set(directions)) != len(directions):
        raise ConfigError(f"directions repeat: {[str(direction) for direction in directions]}.")
    used = sorted({m for direction in directions for m in (direction.teacher, direction.student)})
    for modality in (*used, *batches.augment):
        if modality not in dataset.modalities:
            raise unknown(f"modality of {options['name']}", modality, dataset.modalities)
    for modality in used:
        if modality not in settings["models"]:
            raise unknown("modality in the config section models:", modality, settings["models"])
    for changes in batches.augment.values():
        augment.make(**changes)
    for modality, folder in teacher.checkpoints.items():
        if folder and modality not in settings["models"]:
            raise unknown("modality in teacher.checkpoints:", modality, settings["models"])

    splits = dict(dataset.splits)
    if batches.in_memory:
        splits = {name: [s[i] for i in range(len(s))] for name, s in splits.items()}
    view = functools.partial(View, splits["train"], dataset.modalities, seed=seed)
    plan = _Plan(
        harness=loop.Harness(
            workdir=workdir,
            seed=seed,
            task=task,
            splits=splits,
            batches=batches,
            train=train,
            evaluate=evaluate,
            checkpoint=checkpoint,
            devices=devices,
        ),
        directions=directions,
        dataset=dataset,
        teacher_view=view(),
        student_view=section(view, "data", view_options),
        models={
            modality: models.make(
                **settings["models"][modality],
                num_classes=task.num_classes,
                axis_name=AXIS if train.sync_batch_norm else None,
            )
            for modality in used
        },
        method=method,
        teacher=teacher,
        make_optimizer=functools.partial(optim.make, **settings["optim"]),
    )
    for seen in (plan.teacher_view, plan.student_view):
        try:
            pipeline.steps_per_epoch(seen, batches)
        except ValueError as error:
            raise ConfigError(f"section 'data': {error}") from error
    return plan


def _train(plan: _Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All teachers, then all students."""
    harness = plan.harness
    results: dict[str, Any] = {
        "seed": harness.seed,
        "class_names": list(plan.dataset.class_names),
        "teachers": {},
        "students": {},
    }
    teachers = {}
    for modality in dict.fromkeys(direction.teacher for direction in plan.directions):
        folder = f"teachers/{modality}"
        given = plan.teacher.checkpoints.get(modality)
        none = methods.none()
        if given:
            entry = _once(harness, folder, functools.partial(_adopt, plan, modality, Path(given)))
            source = Path(given)
        else:
            job = loop.Job(
                name=folder,
                title=f"teacher {modality}",
                model=plan.models[modality],
                modality=modality,
                method=none,
                weights={"task": 1.0},
                teacher=None,
                train=plan.teacher_view,
                num_epochs=plan.teacher.num_epochs,
                make_optimizer=plan.make_optimizer,
            )
            entry = _once(harness, folder, functools.partial(loop.fit, job, harness))
            source = harness.workdir / folder
        results["teachers"][modality] = entry
        variables, _ = load_weights(source, _abstract_variables(plan, modality))
        teachers[modality] = loop.Teacher(plan.models[modality], modality, variables)
        _say(f"teacher {modality}: {_percent(entry['test'])} % on the test split")
    for direction in plan.directions:
        job = loop.Job(
            name=direction.folder,
            title=f"student {direction}",
            model=plan.models[direction.student],
            modality=direction.student,
            method=plan.method,
            weights=settings["weights"],
            teacher=teachers[direction.teacher],
            train=plan.student_view,
            num_epochs=harness.train.num_epochs,
            make_optimizer=plan.make_optimizer,
        )
        entry = _once(harness, direction.folder, functools.partial(loop.fit, job, harness))
        results["students"][str(direction)] = entry
        _say(f"student {direction}: {_percent(entry['test'])} % on the test split")
    return results


def _once(harness: loop.Harness, folder: str, work: Callable[[], dict]) -> dict[str, Any]:
    """A model's entry: read if it is finished, else made."""
    path = harness.workdir / folder / "results.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    return work()


def _adopt(plan: _Plan, modality: str, given: Path) -> dict[str, Any]:
    """The entry of a teacher trained by an earlier run, evaluated on this run's splits.

    Raises:
        ConfigError: If there is none, it is of another model, or its run drew other splits.
    """
    harness = plan.harness
    variables, step = load_weights(given, _abstract_variables(plan, modality))
    origin = given.absolute().parents[1] / "config.json"
    if origin.is_file():
        seed = json.loads(origin.read_text(encoding="utf-8"))["seed"]
        if seed != harness.seed:
            raise ConfigError(
                f"the teacher in {given} was trained with seed {seed}, this run has seed "
                f"{harness.seed}: it may have seen this run's test examples."
            )
    none = methods.none()
    weights = evaluation.Weights(harness.devices.replicate(variables), {})
    entry, examples = evaluation.record(
        harness.evaluator(plan.models[modality], modality, none),
        harness.evaluate,
        harness.splits,
        weights,
        weights,
    )
    entry = {"selected_step": step, **entry, "loaded_from": str(given), "seconds": 0.0}
    entry["last"] = {"step": step, **entry["last"]}
    loop.finish(harness.workdir / "teachers" / modality, entry, examples)
    return entry


def _abstract_variables(plan: _Plan, modality: str) -> dict[str, Any]:
    """The shapes of a model's parameters and statistics."""
    example = jnp.asarray(plan.teacher_view[0][modality][None])
    variables = jax.eval_shape(
        lambda x: plan.models[modality].init(jax.random.key(0), x, train=False), example
    )
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def _claim(workdir: Path, settings: Mapping[str, Any]) -> None:
    """Marks the workdir as this config's.

    Raises:
        ConfigError: If it is another config's, with the differences.
    """
    path = workdir / "config.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        differences = list(_differences(found, settings))
        if differences:
            raise ConfigError(
                f"{workdir} holds a run of another config ({'; '.join(differences)}); "
                "choose another --workdir, or delete this one."
            )
    elif jax.process_index() == 0:
        write_json(path, settings)
    if jax.process_index() == 0:
        write_json(workdir / "environment.json", _environment())


def _differences(found: Any, now: Any, path: str = "") -> Any:
    if isinstance(found, dict) and isinstance(now, dict):
        for key in sorted({*found, *now}):
            below = f"{path}.{key}" if path else key
            yield from _differences(found.get(key), now.get(key), below)
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


def _take(options: dict[str, Any], constructor: Callable[..., Any]) -> dict[str, Any]:
    """Moves a constructor's own keywords out of ``options``."""
    names = inspect.signature(constructor).parameters
    return {name: options.pop(name) for name in list(options) if name in names}


def _defaults(constructor: Callable[..., Any]) -> dict[str, Any]:
    """A constructor's keywords that have plain defaults."""
    found = {}
    for name, parameter in inspect.signature(constructor).parameters.items():
        if parameter.default is dataclasses.MISSING or parameter.default is parameter.empty:
            continue
        plain = isinstance(parameter.default, (bool, int, float, str, list, tuple))
        found[name] = parameter.default if plain else {}
    return found


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
