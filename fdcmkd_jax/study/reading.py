"""Reads a study file and checks it."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fdcmkd_jax.registry import ConfigError, build, unknown
from fdcmkd_jax.study.spec import Arm, Study


def read(path: Path) -> Study:
    """Reads a study file.

    Args:
        path: A TOML file; ``studies/controls.toml`` is an example.

    Returns:
        The study, with its grids expanded into arms.

    Raises:
        ConfigError: If the file cannot be read, has an unknown or missing key, names an arm that
            does not exist, or asks for fewer than two seeds.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the study file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the study file {path} is not UTF-8 text: {error}.") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the study file {path} is not TOML: {error}.") from error
    return build("study", {path.stem: _study}, path.stem, tables, folder=path.parent)


def _study(
    *,
    folder: Path,
    title: str,
    question: str,
    config: str,
    seeds: int,
    baseline: str,
    margin: float,
    arms: Mapping[str, Any],
    presets: str = "",
    overrides: Mapping[str, Any] = {},
    learning_rates: Sequence[float] = (),
) -> Study:
    """Makes a study from the keys of its file."""
    if seeds < 2:
        raise ConfigError(f"an interval needs at least two seeds, got seeds = {seeds}.")
    if not margin > 0:
        raise ConfigError(f"margin must be positive, in percentage points; got {margin}.")
    groups = {name: _arm_group(name, keys, presets, overrides) for name, keys in arms.items()}
    by_name = _with_controls(groups)
    if baseline not in by_name:
        raise unknown("arm in baseline:", baseline, by_name)
    return Study(
        title=title,
        question=" ".join(question.split()),
        config=folder / config,
        seeds=seeds,
        baseline=baseline,
        margin=float(margin),
        learning_rates=tuple(float(rate) for rate in learning_rates),
        arms=by_name,
    )


def _arm_group(name: str, keys: Any, presets: str, overrides: Mapping[str, Any]) -> list[Arm]:
    """Makes the arms of one ``[arms.NAME]`` table: one, or one for each place of its grid."""
    if not isinstance(keys, Mapping):
        raise ConfigError(f"arm {name!r} must hold keys and values, got {keys!r}.")
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"an arm's name is its folder: letters, digits, _ . -; got {name!r}.")
    shared = {"arm": name, "study_presets": presets, "study_overrides": overrides}
    return build("arm", {name: _arms}, name, keys, **shared)


def _arms(
    *,
    arm: str,
    study_presets: str,
    study_overrides: Mapping[str, Any],
    label: str = "",
    presets: str = "",
    overrides: Mapping[str, Any] = {},
    controls: Sequence[str] = (),
    grid: Mapping[str, Any] = {},
) -> list[Arm]:
    """Makes arms from the keys of an ``[arms.NAME]`` table."""
    joined = ",".join(text for text in (study_presets, presets) if text)
    fixed = _flatten({}, study_overrides) | _flatten({}, overrides)
    if not grid:
        return [Arm(arm, label or arm, joined, fixed, tuple(controls))]
    lists = _flatten({}, grid)
    lengths = {len(values) if isinstance(values, list) else 0 for values in lists.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ConfigError(
            f"arm {arm!r}: the keys of a grid vary together, so their lists must have one common "
            f"length; got {lists}."
        )
    result = []
    for values in zip(*lists.values(), strict=True):
        shown = f"{values[0]:g}" if isinstance(values[0], float) else str(values[0])
        changes = fixed | dict(zip(lists, values, strict=True))
        text = f"{label or arm} {shown}"
        result.append(Arm(f"{arm}_{shown}", text, joined, changes, tuple(controls)))
    return result


def _with_controls(groups: Mapping[str, Sequence[Arm]]) -> dict[str, Arm]:
    """Returns all arms by name, with the names of their controls resolved."""
    by_name = {arm.name: arm for group in groups.values() for arm in group}
    for group in groups.values():
        for place, arm in enumerate(group):
            controls = tuple(
                _control(name, place, len(group), groups, by_name) for name in arm.controls
            )
            by_name[arm.name] = replace(arm, controls=controls)
    return by_name


def _control(
    name: str,
    place: int,
    places: int,
    groups: Mapping[str, Sequence[Arm]],
    by_name: Mapping[str, Arm],
) -> str:
    """Returns the arm that a control names.

    If it names a grid of the same length as the arm's own, this is the arm at the same place.
    """
    if name in by_name:
        return name
    if name in groups and len(groups[name]) == places:
        return groups[name][place].name
    raise unknown("arm in controls:", name, by_name)


def _flatten(leaves: dict[str, Any], tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Adds the values of a tree to ``leaves``, by dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            _flatten(leaves, value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
