"""The cells of a study and the config of each."""

import json
from pathlib import Path
from typing import Any

import ml_collections

from fdcmkd_jax.config import Direction, resolve
from fdcmkd_jax.config.files import load_get_config
from fdcmkd_jax.registry import ConfigError, unknown
from fdcmkd_jax.study.spec import Cell, Study


def cells(study: Study) -> list[Cell]:
    """Lists all cells by seed; the cell that trains the teachers of a seed comes first."""
    rates: tuple[float | None, ...] = study.learning_rates or (None,)
    unordered = [
        Cell(arm, seed, rate) for seed in range(study.seeds) for arm in study.arms for rate in rates
    ]
    return sorted(unordered, key=lambda cell: (cell.seed, cell != teacher_cell(study, cell.seed)))


def teacher_cell(study: Study, seed: int) -> Cell:
    """Returns the cell that trains the teachers of a seed: the baseline at the config's rate."""
    if not study.learning_rates:
        return Cell(study.baseline, seed)
    return Cell(study.baseline, seed, _config_rate(study))


def config_of(study: Study, cell: Cell, workdir: Path) -> ml_collections.ConfigDict:
    """Makes the config of a cell.

    Args:
        study: The study.
        cell: One of its cells.
        workdir: The study's folder, which holds the shared data and teachers.

    Returns:
        The config. Its teachers are the shared ones, unless the arm's teachers are not trained.

    Raises:
        ConfigError: If the config file cannot be read, or lacks a preset or key that the arm names.
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
        features = dict(config.teacher.get("features", {}))
        for text in config.directions:
            for modality in Direction.parse(text).teachers:
                if not (checkpoints.get(modality) or features.get(modality)):
                    shared = workdir / source.folder / "teachers" / modality
                    checkpoints[modality] = str(shared)
        config.teacher.checkpoints = checkpoints
    return config


def check_arms(study: Study) -> None:
    """Checks the config of every arm.

    Raises:
        ConfigError: See `config_of`; also if two arms have the same config or different primary
            metrics, or the learning rates do not include the config's rate.
    """
    arm_by_settings: dict[str, str] = {}
    arm_by_metric: dict[Any, str] = {}
    for arm in study.arms:
        try:
            resolved = resolve(_arm_config(study, arm))
        except ConfigError as error:
            raise ConfigError(f"arm {arm!r}: {error}") from error
        settings = json.dumps(resolved, sort_keys=True)
        if settings in arm_by_settings:
            raise ConfigError(
                f"arms {arm_by_settings[settings]!r} and {arm!r} have the same config, so a "
                "comparison of them is meaningless; change one or remove it."
            )
        arm_by_settings[settings] = arm
        arm_by_metric.setdefault(resolved["task"].get("primary"), arm)
        if len(arm_by_metric) > 1:
            listed = ", ".join(f"{name}: {metric}" for metric, name in arm_by_metric.items())
            raise ConfigError(f"arms must share the primary metric of the task; got {listed}.")
    if study.learning_rates and _config_rate(study) not in study.learning_rates:
        raise ConfigError(
            f"learning_rates must include the config's rate {_config_rate(study):g}, at which the "
            f"teachers are trained; got {list(study.learning_rates)}."
        )


def _config_rate(study: Study) -> float:
    """Returns the learning rate that the config sets for the baseline."""
    return float(_arm_config(study, study.baseline).optim.learning_rate)


def _arm_config(study: Study, name: str) -> ml_collections.ConfigDict:
    """Returns the config file's config with an arm's presets and overrides."""
    arm = study.arms[name]
    get_config = load_get_config(study.config)
    try:
        config = get_config(arm.presets) if arm.presets else get_config()
    except Exception as error:  # A config file is code, so it may raise anything.
        raise ConfigError(f"{study.config.name}: {error}") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise ConfigError(
            f"{study.config}: get_config must return an ml_collections.ConfigDict, got "
            f"{type(config).__name__}."
        )
    for key, value in arm.overrides.items():
        _override(config, key, value)
    return config


def _override(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Sets the value of an existing dotted key.

    Raises:
        ConfigError: If the key does not exist, or its value has another type.
    """
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
