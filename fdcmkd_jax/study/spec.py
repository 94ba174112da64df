"""What a study file says: arms, their controls, seeds, and the config of each cell."""

import functools
import importlib.util
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_collections

from fdcmkd_jax import plan
from fdcmkd_jax.tables import ConfigError, build, unknown


@dataclass(frozen=True)
class Arm:
    """One setting of the config.

    Attributes:
        name: Its key and its folder.
        label: What people read.
        presets: Of the config file, joined by commas.
        overrides: Values by dotted config key, set after the presets.
        controls: Arms in which what should make the difference is broken or left out.
    """

    name: str
    label: str
    presets: str
    overrides: Mapping[str, Any]
    controls: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A study file, read.

    Attributes:
        title: Heads the page.
        question: What the study asks, in words.
        config: The config file.
        seeds: Seeds 0 to this, exclusive.
        baseline: The arm others are compared with; it trains the teachers that all share.
        margin: Differences smaller than this many points do not matter; stated beforehand.
        learning_rates: Every arm is trained at each, and keeps the one that is best on validation;
            empty to train at the config's own.
        arms: By name, in the order of the file.
    """

    title: str
    question: str
    config: Path
    seeds: int
    baseline: str
    margin: float
    learning_rates: tuple[float, ...]
    arms: Mapping[str, Arm]

    def claim(self) -> dict[str, Any]:
        """What may not change between two calls on one workdir; labels, text and seeds may."""
        arms = {
            arm.name: {
                "presets": arm.presets,
                "overrides": dict(arm.overrides),
                "controls": list(arm.controls),
            }
            for arm in self.arms.values()
        }
        return {
            "config": self.config.name,
            "baseline": self.baseline,
            "margin": self.margin,
            "learning_rates": list(self.learning_rates),
            "arms": arms,
        }


@dataclass(frozen=True)
class Cell:
    """One arm at one seed, and at one learning rate where the study tunes it."""

    arm: str
    seed: int
    learning_rate: float | None = None

    @property
    def folder(self) -> str:
        """Its folder below the workdir."""
        rate = "" if self.learning_rate is None else f"rate{self.learning_rate:g}/"
        return f"cells/{self.arm}/{rate}seed{self.seed}"

    def __str__(self) -> str:
        rate = "" if self.learning_rate is None else f", learning rate {self.learning_rate:g}"
        return f"{self.arm}{rate}, seed {self.seed}"


def read(path: Path) -> Study:
    """Reads a study file.

    Args:
        path: A TOML file; ``studies/controls.toml`` is an example.

    Returns:
        The study, its grids written out as arms.

    Raises:
        ConfigError: If the file cannot be read, has an unknown or missing key, names an arm that
            does not exist, or asks for fewer than two seeds.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the study file {path}: {error.strerror}.") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the study file {path} is not TOML: {error}.") from error
    return build("study", {path.stem: _study}, path.stem, tables, folder=path.parent)


def cells(study: Study) -> list[Cell]:
    """All cells by seed; the one that trains a seed's teachers comes first."""
    rates: tuple[float | None, ...] = study.learning_rates or (None,)
    found = [
        Cell(arm, seed, rate) for seed in range(study.seeds) for arm in study.arms for rate in rates
    ]
    return sorted(found, key=lambda cell: (cell.seed, cell != teacher_cell(study, cell.seed)))


def teacher_cell(study: Study, seed: int) -> Cell:
    """The cell whose teachers serve all others of a seed: the baseline's, at the config's rate."""
    if not study.learning_rates:
        return Cell(study.baseline, seed)
    return Cell(study.baseline, seed, _own_rate(study))


def config_of(study: Study, cell: Cell, workdir: Path) -> ml_collections.ConfigDict:
    """The config of a cell.

    Args:
        study: The study.
        cell: One of its cells.
        workdir: The study's folder, which holds the shared data and teachers.

    Returns:
        The config; its teachers are the shared ones, unless the arm's are not trained.

    Raises:
        ConfigError: If the config file cannot be read or lacks a preset or key that the arm names.
    """
    config = _arm_config(study, cell.arm)
    config.seed = cell.seed
    if cell.learning_rate is not None:
        config.optim.learning_rate = cell.learning_rate
    if not config.data.get("data_dir"):
        config.data.data_dir = str(workdir / "data")
    source = teacher_cell(study, cell.seed)
    if cell != source and config.teacher.num_epochs:
        checkpoints = dict(config.teacher.get("checkpoints", {}))
        for text in config.directions:
            for teacher in plan.Direction.parse(text).teachers:
                own = str(workdir / source.folder / "teachers" / teacher)
                checkpoints[teacher] = checkpoints.get(teacher) or own
        config.teacher.checkpoints = checkpoints
    return config


def check(study: Study) -> None:
    """Reads the config of every arm.

    Raises:
        ConfigError: See `config_of`; or if two arms say the same, or the learning rates lack the
            config's own.
    """
    known: dict[str, str] = {}
    for arm in study.arms:
        try:
            settings = json.dumps(plan.resolve(_arm_config(study, arm)), sort_keys=True)
        except ConfigError as error:
            raise ConfigError(f"arm {arm!r}: {error}") from error
        if settings in known:
            raise ConfigError(
                f"arms {known[settings]!r} and {arm!r} are the same config, so comparing them says "
                "nothing; change one or leave it out."
            )
        known[settings] = arm
    if study.learning_rates and _own_rate(study) not in study.learning_rates:
        raise ConfigError(
            f"learning_rates must hold the config's own {_own_rate(study):g}, at which the "
            f"teachers are trained; got {list(study.learning_rates)}."
        )


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
    """The keywords of a study file."""
    if seeds < 2:
        raise ConfigError(f"an interval needs at least two seeds, got seeds = {seeds}.")
    if not margin > 0:
        raise ConfigError(f"margin must be positive, in points of accuracy; got {margin}.")
    named: dict[str, list[Arm]] = {}
    for name, options in arms.items():
        if not isinstance(options, Mapping):
            raise ConfigError(f"arm {name!r} must hold keys and values, got {options!r}.")
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigError(f"an arm's name is its folder: letters, digits, _ . -; got {name!r}.")
        shared = {"arm": name, "above": presets, "below": overrides}
        named[name] = build("arm", {name: _arms}, name, options, **shared)
    found = {arm.name: arm for group in named.values() for arm in group}
    if baseline not in found:
        raise unknown("arm in baseline:", baseline, found)
    for group in named.values():
        for place, arm in enumerate(group):
            controls = tuple(
                _control(text, place, len(group), named, found) for text in arm.controls
            )
            found[arm.name] = Arm(arm.name, arm.label, arm.presets, arm.overrides, controls)
    return Study(
        title=title,
        question=" ".join(question.split()),
        config=folder / config,
        seeds=seeds,
        baseline=baseline,
        margin=float(margin),
        learning_rates=tuple(float(rate) for rate in learning_rates),
        arms=found,
    )


def _arms(
    *,
    arm: str,
    above: str,
    below: Mapping[str, Any],
    label: str = "",
    presets: str = "",
    overrides: Mapping[str, Any] = {},
    controls: Sequence[str] = (),
    grid: Mapping[str, Any] = {},
) -> list[Arm]:
    """The keywords of an arm: one arm, or one a place in its grid's lists."""
    joined = ",".join(text for text in (above, presets) if text)
    fixed = _flatten({}, below) | _flatten({}, overrides)
    if not grid:
        return [Arm(arm, label or arm, joined, fixed, tuple(controls))]
    lists = _flatten({}, grid)
    lengths = {len(values) if isinstance(values, list) else 0 for values in lists.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ConfigError(
            f"arm {arm!r}: the keys of a grid vary together, so each holds a list of one common "
            f"length; got {lists}."
        )
    result = []
    for values in zip(*lists.values(), strict=True):
        shown = f"{values[0]:g}" if isinstance(values[0], float) else str(values[0])
        chosen = fixed | dict(zip(lists, values, strict=True))
        text = f"{label or arm} {shown}"
        result.append(Arm(f"{arm}_{shown}", text, joined, chosen, tuple(controls)))
    return result


def _control(
    text: str,
    place: int,
    places: int,
    named: Mapping[str, Sequence[Arm]],
    found: Mapping[str, Arm],
) -> str:
    """The arm a control names; of a grid as long as the arm's own, the one at the same place."""
    if text in found:
        return text
    if text in named and len(named[text]) == places:
        return named[text][place].name
    raise unknown("arm in controls:", text, found)


def _flatten(leaves: dict[str, Any], tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            _flatten(leaves, value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _own_rate(study: Study) -> float:
    return float(_arm_config(study, study.baseline).optim.learning_rate)


def _arm_config(study: Study, name: str) -> ml_collections.ConfigDict:
    """The config file with an arm's presets and overrides."""
    arm = study.arms[name]
    get_config = _get_config(study.config)
    try:
        config = get_config(arm.presets) if arm.presets else get_config()
    except Exception as error:  # A config file is code, so anything may come out of it.
        raise ConfigError(f"{study.config.name}: {error}") from error
    if not isinstance(config, ml_collections.ConfigDict):
        found = type(config).__name__
        raise ConfigError(
            f"{study.config}: get_config must return an ml_collections.ConfigDict, got {found}."
        )
    for key, value in arm.overrides.items():
        section: Any = config
        for part in key.split("."):
            choices = section.keys() if isinstance(section, ml_collections.ConfigDict) else ()
            if part not in choices:
                raise unknown(f"config key in {key}:", part, choices)
            section = section[part]
        try:
            config.update_from_flattened_dict({key: value})
        except TypeError as error:
            raise ConfigError(f"{key} cannot be {value!r}: {error}") from error
    return config


@functools.cache
def _get_config(path: Path) -> Callable[..., Any]:
    """The function of that name in a config file."""
    if not path.is_file():
        raise ConfigError(f"the study's config file {path} does not exist.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"the study's config file {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config
    except Exception as error:
        raise ConfigError(f"cannot use the config file {path}: {error}.") from error
