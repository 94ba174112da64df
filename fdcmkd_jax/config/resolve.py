"""The config as plain data, with every default filled in."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_collections

from fdcmkd_jax import data, methods, models, tasks
from fdcmkd_jax.data.input import InputOptions
from fdcmkd_jax.data.pairing import View
from fdcmkd_jax.registry import ConfigError, constructor, defaults, unknown
from fdcmkd_jax.training import optim
from fdcmkd_jax.training.evaluation import EvalOptions
from fdcmkd_jax.training.job import CheckpointOptions, TrainOptions


@dataclass(frozen=True)
class TeacherOptions:
    """Options of teachers.

    Attributes:
        num_epochs: Number of epochs of a teacher's own training; 0 leaves it untrained, a control.
        checkpoints: By modality, the folder of a model trained earlier (``RUN/teachers/audio``)
            that serves instead; empty to train one here.
        start_from: By modality, the folder of a model with whose parameters a teacher's own
            training starts; empty to draw them.
        features: By modality, a file of features (and logits) computed elsewhere that stands in for
            the teacher; see `training.stored_features`. Empty for a teacher that runs.
    """

    num_epochs: int
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    start_from: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_epochs < 0:
            raise ValueError(f"num_epochs must not be negative, got {self.num_epochs}.")


CONSTRUCTORS: Mapping[str, Callable[..., Any]] = {
    "input": InputOptions,
    "pairing": View,
    "teacher": TeacherOptions,
    "optim": optim.make,
    "train": TrainOptions,
    "evaluate": EvalOptions,
    "checkpoint": CheckpointOptions,
}
"""The constructor of each section that has exactly one; its keywords are the section's keys."""

TABLES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "data": data.TABLE,
    "task": tasks.TABLE,
    "method": methods.TABLE,
}
"""The table of each section that names one of several constructors."""

SECTIONS = (
    "seed",
    "data",
    "input",
    "pairing",
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

NO_DIFFERENCE = ("train.together",)
"""Keys that change how a run is computed and not its result: a run may be continued either way."""

_SUPPLIED = {"axis_name", "num_classes", "seed", "source", "modalities", "steps_per_epoch"}
"""Keywords that the run supplies, which a config may not set."""

_MOVED = {
    **{key: f"input.{key}" for key in ("batch_size", "drop_remainder", "in_memory", "num_threads")},
    "augment": "input.augment",
    "pairing": "pairing.kind",
    "labelled_per_class": "pairing.labelled_per_class",
    "drop_unlabelled": "pairing.drop_unlabelled",
}
"""Keys of the section data in earlier versions, with their present names."""


def resolve(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Converts a config to plain data and fills in every default that a run would use.

    Args:
        config: One section per part; see ``configs/av_digits.py``.

    Returns:
        JSON-able data. Resolving it again changes nothing.

    Raises:
        ConfigError: If a section is missing or unknown, or has the wrong form.
    """
    plain = json.loads(ml_collections.ConfigDict(config).to_json_best_effort())
    plain.setdefault("pairing", {})
    _check_form(plain)
    for name, make in CONSTRUCTORS.items():
        plain[name] = {**_options(make), **plain[name]}
    plain["optim"].setdefault("by_modality", {})
    for name, table in TABLES.items():
        plain[name] = _filled(name, table, plain[name])
    for modality, options in plain["models"].items():
        plain["models"][modality] = _filled("model", models.TABLE, options)
    return json.loads(json.dumps({name: plain[name] for name in SECTIONS}))


def check_named(path: str, options: Any) -> None:
    """Checks that a part of the config holds a name.

    Raises:
        ConfigError: If it does not.
    """
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise ConfigError(f"{path} must hold a name and its options, got {options!r}.")


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Describes each value on which two configs, as plain data, disagree.

    `NO_DIFFERENCE` is left out.

    Examples:
        >>> list(differences({"train": {"num_epochs": 1}}, {"train": {"num_epochs": 2}}))
        ['train.num_epochs: 1 there, 2 now']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            below = f"{path}.{key}" if path else key
            if below not in NO_DIFFERENCE:
                yield from differences(before.get(key), now.get(key), below)
    elif before != now:
        yield f"{path}: {before!r} there, {now!r} now"


def _check_form(plain: Mapping[str, Any]) -> None:
    """Raises ConfigError unless the config has exactly the sections, each of the right form."""
    for name in plain:
        if name not in SECTIONS:
            raise unknown("config section", name, SECTIONS)
    if isinstance(plain.get("data"), dict):
        for key in plain["data"]:
            if key in _MOVED:
                raise ConfigError(f"the config key data.{key} was renamed: use {_MOVED[key]}.")
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
    for name in TABLES:
        check_named(name, plain[name])
    for modality, options in plain["models"].items():
        check_named(f"models.{modality}", options)


def _options(make: Callable[..., Any]) -> dict[str, Any]:
    """Returns the defaults of a constructor, less those that the run supplies."""
    return {key: value for key, value in defaults(make).items() if key not in _SUPPLIED}


def _filled(
    kind: str, table: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Adds its constructor's defaults to a named part of the config.

    A method made of others holds their sections by name under ``methods``, or the section of the
    one it is made of under ``method``: these are filled too.

    Raises:
        ConfigError: If the name is unknown, or a keyword is set that the run supplies.
    """
    known = _options(constructor(_KINDS.get(kind, kind), table, options["name"]))
    for key in options:
        if key in _SUPPLIED:
            raise unknown(f"option of {kind} {options['name']!r}:", key, known)
    filled = {**({"data_dir": ""} if kind == "data" else {}), **known, **options}
    if kind == "method":
        if isinstance(filled.get("methods"), dict):
            filled["methods"] = {
                key: _filled_part(table, f"method.methods.{key}", {"name": key, **part})
                if isinstance(part, dict)
                else part
                for key, part in filled["methods"].items()
            }
        if isinstance(filled.get("method"), dict):
            filled["method"] = _filled_part(table, "method.method", filled["method"])
    return filled


def _filled_part(
    table: Mapping[str, Callable[..., Any]], path: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    check_named(path, options)
    return _filled("method", table, options)


_KINDS = {"data": "data set"}
"""Names of sections in messages, where they differ."""
