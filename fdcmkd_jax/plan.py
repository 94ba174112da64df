"""From a config to the things it describes: everything a mistake could hide in, checked at once."""

import dataclasses
import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from jax.experimental import multihost_utils
from jaxtyping import Array

from fdcmkd_jax import data, evaluation, loop, losses, methods, models, optim, state, tasks
from fdcmkd_jax.data import augment, pipeline
from fdcmkd_jax.data.pairing import View
from fdcmkd_jax.step import AXIS, Devices
from fdcmkd_jax.tables import ConfigError, build_once, section, unknown
from fdcmkd_jax.types import Params

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
        num_epochs: Epochs of a teacher's own training; 0 leaves it as it is drawn, a control.
        checkpoints: Per modality, the folder of a model trained earlier (``RUN/teachers/audio``)
            that serves instead; empty to train one here.
    """

    num_epochs: int
    checkpoints: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_epochs < 0:
            raise ValueError(f"num_epochs must not be negative, got {self.num_epochs}.")


@dataclasses.dataclass(frozen=True)
class Direction:
    """Who teaches whom: modalities, written ``audio->image`` or ``audio+depth->image``."""

    teachers: tuple[str, ...]
    student: str

    @classmethod
    def parse(cls, text: str) -> "Direction":
        """Reads ``"audio->image"`` or, with several teachers, ``"audio+depth->image"``.

        One of several teachers may be of the student's own modality, a single one may not.

        Raises:
            ConfigError: If the text has another form, or names one modality twice.
        """
        before, arrow, student = (part.strip() for part in str(text).partition("->"))
        teachers = tuple(part.strip() for part in before.split("+"))
        if not (all(teachers) and arrow and student) or teachers == (student,):
            raise ConfigError(
                f"a direction is 'teacher->student' with two modalities, got {text!r}."
            )
        if len(set(teachers)) != len(teachers):
            raise ConfigError(f"a direction names each teacher once, got {text!r}.")
        return cls(teachers, student)

    @property
    def source(self) -> str:
        """The teachers' modalities, joined by ``+``."""
        return "+".join(self.teachers)

    def __str__(self) -> str:
        return f"{self.source}->{self.student}"

    @property
    def folder(self) -> str:
        """Its folder below the workdir."""
        return f"students/{self.source}-to-{self.student}"


def resolve(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as plain data, with every default a run would use filled in.

    Raises:
        ConfigError: If a section is missing or unknown, or not of the right form.
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
    if not isinstance(plain["directions"], list) or not plain["directions"]:
        raise ConfigError(
            f"directions must be a list such as ('audio->image',), got {plain['directions']!r}."
        )
    for name in SECTIONS:
        if name not in ("seed", "directions") and not isinstance(plain[name], dict):
            raise ConfigError(f"the config section {name} must hold keys, got {plain[name]!r}.")
    for name in ("data", "task", "method"):
        _check_named(name, plain[name])
    for modality, options in plain["models"].items():
        _check_named(f"models.{modality}", options)
    constructors: dict[str, Callable[..., Any]] = {
        "teacher": TeacherOptions,
        "optim": optim.make,
        "train": loop.Options,
        "evaluate": evaluation.Options,
        "checkpoint": loop.CheckpointOptions,
    }
    for name, constructor in constructors.items():
        plain[name] = {**_defaults(constructor), **plain[name]}
    plain["task"] = _filled("task", tasks.TABLE, plain["task"])
    plain["method"] = _filled("method", methods.TABLE, plain["method"])
    for modality, options in plain["models"].items():
        plain["models"][modality] = _filled("model", models.TABLE, options)
    defaults = {"data_dir": "", **_defaults(pipeline.Options), **_defaults(View)}
    defaults.pop("seed")
    if plain["data"]["name"] in data.TABLE:
        defaults |= _defaults(data.TABLE[plain["data"]["name"]])
    plain["data"] = {**defaults, **plain["data"]}
    return json.loads(json.dumps(plain))


@dataclasses.dataclass(frozen=True)
class Plan:
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

    @property
    def given_teachers(self) -> dict[str, Path]:
        """By modality, the folders of teachers that an earlier run trained."""
        given = {name: self.teacher.checkpoints.get(name) for name in self.taught_by}
        return {modality: Path(folder) for modality, folder in given.items() if folder}

    @property
    def taught_by(self) -> tuple[str, ...]:
        """The modalities of all teachers."""
        return tuple(dict.fromkeys(name for each in self.directions for name in each.teachers))

    @property
    def given_starts(self) -> dict[str, Path]:
        """By modality, the folders of models whose weights students start from."""
        given = {d.student: self.harness.train.start_from.get(d.student) for d in self.directions}
        return {modality: Path(folder) for modality, folder in given.items() if folder}


def build(settings: Mapping[str, Any], workdir: Path) -> Plan:
    """Builds everything a mistake could hide in, before anything is trained or written."""
    seed = settings["seed"]
    method = methods.make(**settings["method"], axis_name=AXIS)
    try:
        losses.check_weights(settings["weights"], ("task", *method.names))
    except ValueError as error:
        raise ConfigError(f"config section weights: {error}") from error
    for name, weight in settings["weights"].items():
        if not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise ConfigError(
                f"weights.{name} must be a finite number, not negative; got {weight!r}."
            )
    train = section(loop.Options, "train", settings["train"])
    teacher = section(TeacherOptions, "teacher", settings["teacher"])
    evaluate = section(evaluation.Options, "evaluate", settings["evaluate"])
    checkpoint = section(loop.CheckpointOptions, "checkpoint", settings["checkpoint"])
    section(optim.make, "optim", settings["optim"], num_epochs=1, steps_per_epoch=1)
    devices = Devices(train.parallel)

    options = dict(settings["data"])
    batches = section(pipeline.Options, "data", _take(options, pipeline.Options))
    view_options = _take(options, View)
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
    if len(set(directions)) != len(directions):
        raise ConfigError(f"directions repeat: {[str(direction) for direction in directions]}.")
    used = sorted({m for direction in directions for m in (*direction.teachers, direction.student)})
    for direction in directions:
        if len(direction.teachers) > 1 and not method.several_teachers:
            raise ConfigError(
                f"{direction} has several teachers, but the method {settings['method']['name']!r} "
                "learns from one; put it into the method multi_teacher."
            )
    for modality in (*used, *batches.augment):
        if modality not in dataset.modalities:
            raise unknown(f"modality of {options['name']}", modality, dataset.modalities)
    for modality in used:
        if modality not in settings["models"]:
            raise unknown("modality in the config section models:", modality, settings["models"])
    for modality, changes in batches.augment.items():
        _check_named(f"data.augment.{modality}", changes)
        augment.make(**changes)
    for key, folders in (
        ("teacher.checkpoints", teacher.checkpoints),
        ("train.start_from", train.start_from),
    ):
        for modality, folder in folders.items():
            if folder and modality not in settings["models"]:
                raise unknown(f"modality in {key}:", modality, settings["models"])

    splits = dict(dataset.splits)
    if batches.in_memory:
        splits = {name: [s[i] for i in range(len(s))] for name, s in splits.items()}
    view = functools.partial(View, splits["train"], dataset.modalities, seed=seed)
    plan = Plan(
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
        make_optimizer=functools.partial(
            build_once, "section", {"optim": optim.make}, "optim", settings["optim"]
        ),
    )
    for seen in (plan.teacher_view, plan.student_view):
        try:
            pipeline.steps_per_epoch(seen, batches)
        except ValueError as error:
            raise ConfigError(f"section 'data': {error}") from error
    _check_method(plan)
    return plan


def _check_method(plan: Plan) -> None:
    """Starts the method on shapes alone: now, not once the teachers are trained.

    Raises:
        ConfigError: If it asks for something that a model does not return.
    """
    example = plan.teacher_view[0]
    outputs = {}
    for modality, model in plan.models.items():
        x = example[modality][None]
        outputs[modality] = state.abstract_outputs(model, state.abstract_variables(model, x), x)

    def start(key: Array) -> list[Params]:
        classes = plan.harness.task.num_classes
        started = []
        for each in plan.directions:
            taught_by: Any = {name: outputs[name] for name in each.teachers}
            if not plan.method.several_teachers:
                (taught_by,) = taught_by.values()
            started.append(plan.method.init(key, outputs[each.student], taught_by, classes))
        return started

    try:
        jax.eval_shape(start, jax.random.key(0))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"section 'method': {error}") from error


def _check_named(path: str, options: Any) -> None:
    """Raises ConfigError unless a part of the config says by name what it describes."""
    if not isinstance(options, dict) or not isinstance(options.get("name"), str):
        raise ConfigError(f"{path} must hold a name and its options, got {options!r}.")


def _filled(
    kind: str, table: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """A named part of the config with its constructor's defaults; unchanged if it is unknown.

    A method made of others holds their options by name under ``methods``, or those of the one it
    is made of, with its name, under ``method``: these are filled too.

    Raises:
        ConfigError: If it sets the mapped axis, which is the run's to choose.
    """
    name = options["name"]
    if name not in table:
        return dict(options)
    defaults = _defaults(table[name])
    defaults.pop("axis_name", None)
    if "axis_name" in options:
        raise unknown(f"option of {kind} {name!r}:", "axis_name", defaults)
    filled = {**defaults, **options}
    if kind == "method" and isinstance(filled.get("methods"), dict):
        for part, given in filled["methods"].items():
            if isinstance(given, dict) and "name" not in given:
                complete = _filled(kind, table, {**given, "name": part})
                filled["methods"][part] = {k: v for k, v in complete.items() if k != "name"}
    inner = filled.get("method")
    if kind == "method" and isinstance(inner, dict) and isinstance(inner.get("name"), str):
        filled["method"] = _filled(kind, table, inner)
    return filled


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
