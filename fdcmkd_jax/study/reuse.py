"""Checks that a workdir belongs to a study, and reuses finished cells of other studies."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fdcmkd_jax.config import differences, resolve
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.study.cell_config import config_of, teacher_cell
from fdcmkd_jax.study.spec import Cell, Study
from fdcmkd_jax.training.log import read_json, write_json

CHANGES_NOTHING = {
    "data": ("data_dir",),
    "input": ("in_memory", "num_threads", "num_workers", "prefetch_batches"),
    "teacher": ("checkpoints",),
    "evaluate": ("batch_size",),
}
"""Settings, by config section, that change paths or speed but no result."""


def check_same_study(study: Study, workdir: Path) -> None:
    """Checks that the workdir belongs to this study, and writes the study's settings into it.

    Arms may be added to a study later, but not changed.

    Raises:
        ConfigError: If the workdir belongs to another study, with the differences.
    """
    path = workdir / "settings.json"
    settings = study.fixed_settings()
    if path.is_file():
        earlier = read_json(path)
        arms = {name: arm for name, arm in settings["arms"].items() if name in earlier["arms"]}
        changes = list(differences(earlier, {**settings, "arms": arms}))
        if changes:
            raise ConfigError(
                f"{workdir} holds another study ({'; '.join(changes)}); choose another --workdir, "
                "or delete this one."
            )
    write_json(path, settings)


def check_same_config(study: Study, cell: Cell, workdir: Path) -> None:
    """Checks that a finished cell was run with the config that the study has now.

    Raises:
        ConfigError: If it was not, with the differences.
    """
    folder = workdir / cell.folder
    earlier = _decisive(read_json(folder / "config.json"))
    now = _decisive(resolve(config_of(study, cell, workdir)))
    changes = list(differences(earlier, now))
    if changes:
        raise ConfigError(
            f"{folder} is a run of another config ({'; '.join(changes)}); choose another "
            "--workdir, or delete that folder."
        )


def copy_finished_cells(study: Study, cells: Sequence[Cell], workdir: Path, source: Path) -> None:
    """Copies finished cells of the same config and seed from another study's folder.

    All arms of a seed share their teachers, so a cell is copied only if its teachers have exactly
    the scores of this study's teachers: the same primary metric on validation and the same
    confusion matrix on the test split.

    Args:
        study: The study.
        cells: Cells to look for; those that are finished or begun are left unchanged.
        workdir: The study's folder.
        source: The other study's folder, or a folder that holds several studies.

    Raises:
        ConfigError: If ``source`` holds no finished cell.
    """
    finished = _finished_cells(source.absolute(), workdir)
    if not finished:
        raise ConfigError(f"{source} holds no finished cell of a study to reuse.")
    for cell in cells:
        folder = workdir / cell.folder
        if folder.exists():
            continue
        settings = resolve(config_of(study, cell, workdir))
        candidates = finished.get(_fingerprint(settings), [])
        teacher_folder = workdir / teacher_cell(study, cell.seed).folder
        # Untrained teachers depend on the seed alone, so they are always the same.
        untrained = not settings["teacher"]["num_epochs"]
        for candidate in candidates:
            if untrained or _same_teachers(candidate, teacher_folder, folder):
                _copy_whole(candidate, folder)
                break


def _finished_cells(source: Path, workdir: Path) -> dict[str, list[Path]]:
    """Finds the folders of finished cells below ``source`` and outside ``workdir``.

    Returns:
        The folders by `_fingerprint`.
    """
    folders: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("cells/**/config.json")):
        folder = path.parent
        finished = (folder / "results.json").is_file() and folder.suffix != ".copied"
        if finished and not folder.is_relative_to(workdir):
            folders.setdefault(_fingerprint(read_json(path)), []).append(folder)
    return folders


def _copy_whole(source: Path, folder: Path) -> None:
    """Copies a folder under a temporary name first, so that no half copy counts as finished."""
    partial = folder.with_suffix(".copied")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    partial.rename(folder)


def _same_teachers(candidate: Path, teacher_folder: Path, folder: Path) -> bool:
    """Whether a finished cell has the teachers of the cell that trains them for this seed."""
    if folder == teacher_folder:
        return not any(read_json(candidate / "config.json")["teacher"]["checkpoints"].values())
    if not (teacher_folder / "results.json").is_file():
        return False
    return _teacher_scores(teacher_folder).items() >= _teacher_scores(candidate).items()


def _teacher_scores(folder: Path) -> dict[str, Any]:
    """Returns the scores of a finished cell's teachers, by modality."""
    results = read_json(folder / "results.json")
    primary = results["metrics"]["primary"]
    return {
        modality: (entry["val"][primary], entry.get("confusion"))
        for modality, entry in results["teachers"].items()
    }


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a cell that decide its results."""
    kept = {
        name: {key: value for key, value in settings[name].items() if key not in keys}
        for name, keys in CHANGES_NOTHING.items()
        if name in settings
    }
    return {**settings, **kept}


def _fingerprint(settings: Mapping[str, Any]) -> str:
    """Returns a text that is the same for two cells whose results must be the same."""
    return json.dumps(_decisive(settings), sort_keys=True)
