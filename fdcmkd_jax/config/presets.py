"""Named changes to a config: methods with their weights, parts of FD-CMKD, controls.

Every config file applies them by `apply`, beside presets of its own. A preset of a method replaces
the sections ``method`` and ``weights`` and nothing else; see `fdcmkd_jax.methods.presets`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from fdcmkd_jax import methods
from fdcmkd_jax.methods.presets import PRESETS as METHOD_PRESETS
from fdcmkd_jax.registry import constructor, defaults, unknown

Change = Callable[[ml_collections.ConfigDict], None]
"""A function that changes a config in place."""


def apply(
    config: ml_collections.ConfigDict, presets: str, own: Mapping[str, Change] | None = None
) -> ml_collections.ConfigDict:
    """Applies comma-separated presets in turn.

    Args:
        config: Changed in place.
        presets: Names joined by commas; may be empty.
        own: Further presets, of the config file; they take precedence.

    Returns:
        The config.

    Raises:
        ConfigError: If a preset is unknown.
        ValueError: If a preset changes a term that the method so far does not have.
    """
    known = {**PRESETS, **(own or {})}
    for name in filter(None, (part.strip() for part in presets.split(","))):
        if name not in known:
            raise unknown("preset", name, known)
        known[name](config)
    return config


def set_method(
    config: ml_collections.ConfigDict, weights: Mapping[str, float], **method: Any
) -> None:
    """Replaces the method and its weights.

    Every option of the method is stated, so that flags and studies can change any of them.

    Args:
        config: Changed in place.
        weights: One weight per term of the method; the task's is 1.
        **method: The method's name and options.
    """
    options = defaults(constructor("method", methods.TABLE, method["name"]))
    options.pop("axis_name", None)
    config.method = ml_collections.ConfigDict({**options, **method})
    config.weights = ml_collections.ConfigDict({"task": 1.0, **weights})


def _use_method(name: str, config: ml_collections.ConfigDict) -> None:
    preset = METHOD_PRESETS[name]
    set_method(config, preset.weights, **preset.method)


def _paper(config: ml_collections.ConfigDict) -> None:
    weights = {"align": 1.0, "low": 1.0, "high": 1.0}
    set_method(config, weights, name="fd_cmkd", auxiliary_heads=False)


def _authors_code(config: ml_collections.ConfigDict) -> None:
    _weight_1(config)
    config.optim.learning_rate = 0.01
    config.evaluate.every_epochs = 1
    config.evaluate.select_split = "test"
    config.evaluate.select_heads = ("main", "auxiliary_low", "auxiliary_high")


def _weight_1(config: ml_collections.ConfigDict) -> None:
    config.weights.update(low=1.0, high=1.0)


def _without(option: str, term: str, config: ml_collections.ConfigDict) -> None:
    """Switches one pair of FD-CMKD's heads off, and removes its weight."""
    if term not in config.weights:
        raise ValueError(f"no_{term} needs a method with the term {term!r} before it.")
    config.method[option] = False
    del config.weights[term]


def _auxiliary(config: ml_collections.ConfigDict) -> None:
    weights = {"auxiliary": 1.0, "low": 0.0, "high": 0.0}
    set_method(config, weights, name="fd_cmkd", shared_heads=False)


def _unsplit(config: ml_collections.ConfigDict) -> None:
    weights = {"align": 1.0, "auxiliary": 1.0, "feature": 10.0}
    set_method(config, weights, name="fd_cmkd", basis="none")


def _smoothed(config: ml_collections.ConfigDict) -> None:
    set_method(config, {}, name="none")
    config.task.label_smoothing = 0.1


def _join(config: ml_collections.ConfigDict) -> None:
    options = config.method.to_dict()
    name = options.pop("name")
    weights = {f"{name}_{term}": config.weights[term] for term in config.weights if term != "task"}
    kd = METHOD_PRESETS["kd"]
    parts = {name: options, "kd": {k: v for k, v in kd.method.items() if k != "name"}}
    weights |= {f"kd_{term}": weight for term, weight in kd.weights.items()}
    set_method(config, weights, name="join", methods=parts)


def _all_teachers(config: ml_collections.ConfigDict) -> None:
    """Lets a teacher of every modality teach each student."""
    method, weights = config.method.to_dict(), config.weights.to_dict()
    students = [direction.partition("->")[2] for direction in config.directions]
    teachers = "+".join(sorted(config.models))
    config.directions = tuple(f"{teachers}->{student}" for student in students)
    set_method(config, {}, name="multi_teacher", method=method, gates="fixed", shares={})
    config.weights = ml_collections.ConfigDict(weights)


def _gated(config: ml_collections.ConfigDict) -> None:
    _all_teachers(config)
    config.method.gates = "learned"
    config.weights.gate = 1.0


def _untrained_teacher(config: ml_collections.ConfigDict) -> None:
    config.teacher.num_epochs = 0


def _pairing(kind: str, config: ml_collections.ConfigDict) -> None:
    config.pairing.kind = kind


PRESETS: Mapping[str, Change] = {
    **{name: functools.partial(_use_method, name) for name in METHOD_PRESETS},
    # FD-CMKD, changed.
    "paper": _paper,
    "authors_code": _authors_code,
    "weight_1": _weight_1,
    "no_align": functools.partial(_without, "shared_heads", "align"),
    "no_auxiliary": functools.partial(_without, "auxiliary_heads", "auxiliary"),
    "unsplit": _unsplit,
    # The method so far, with more teachers or with Hinton's distillation.
    "join": _join,
    "two_teachers": _all_teachers,
    "gated": _gated,
    # Controls.
    "auxiliary": _auxiliary,
    "smoothed": _smoothed,
    "random": _untrained_teacher,
    **{
        kind: functools.partial(_pairing, kind) for kind in ("shuffled", "mismatched", "relabelled")
    },
}
"""Presets of every config file, by name."""
