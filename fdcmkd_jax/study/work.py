"""Running the cells of a study: what is done, what is ready, what failed and why."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fdcmkd_jax import experiment, plan
from fdcmkd_jax.log import read_json, write_json
from fdcmkd_jax.study.spec import Cell, Study, config_of, teacher_cell
from fdcmkd_jax.study.worker import Worker
from fdcmkd_jax.tables import ConfigError


def status(cell: Cell, workdir: Path) -> str:
    """``done``, ``failed``, ``begun`` or ``missing``."""
    folder = workdir / cell.folder
    for name, word in (("results.json", "done"), ("failed.json", "failed")):
        if (folder / name).is_file():
            return word
    return "begun" if folder.is_dir() else "missing"


def reason(cell: Cell, workdir: Path) -> str:
    """Why a cell failed, one line; empty if it did not."""
    path = workdir / cell.folder / "failed.json"
    if status(cell, workdir) != "failed":
        return ""
    return str(read_json(path)["reason"])


def claim(study: Study, workdir: Path) -> None:
    """Marks the workdir as this study's; arms may be added later, not changed.

    Raises:
        ConfigError: If it is another study's, or a finished cell is of another config, with the
            differences.
    """
    path = workdir / "claim.json"
    now = study.claim()
    if path.is_file():
        found = read_json(path)
        known = {**now, "arms": {k: v for k, v in now["arms"].items() if k in found["arms"]}}
        changes = list(experiment.differences(found, known))
        if changes:
            raise ConfigError(
                f"{workdir} holds another study ({'; '.join(changes)}); choose another --workdir, "
                "or delete this one."
            )
    write_json(path, now)


def check_config(study: Study, cell: Cell, workdir: Path) -> None:
    """Checks that what a finished cell ran is what the study now says.

    Raises:
        ConfigError: If not, with the differences.
    """
    folder = workdir / cell.folder
    found = _decisive(read_json(folder / "config.json"))
    now = _decisive(plan.resolve(config_of(study, cell, workdir)))
    changes = list(experiment.differences(found, now))
    if changes:
        raise ConfigError(
            f"{folder} is a run of another config ({'; '.join(changes)}); choose another "
            "--workdir, or delete that folder."
        )


def reuse(study: Study, todo: Sequence[Cell], workdir: Path, other: Path) -> None:
    """Copies finished cells of the same config and seed from another study's folder.

    Arms of a seed share their teachers here, so a cell is taken over only if its teachers score as
    those of this study do, to the last example.

    Args:
        study: The study.
        todo: Cells; those done or begun are left as they are.
        workdir: The study's folder.
        other: The other study's folder, or a folder above several.

    Raises:
        ConfigError: If there is no finished cell in ``other``.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(other.absolute().rglob("cells/**/config.json")):
        folder = path.parent
        whole = (folder / "results.json").is_file() and folder.suffix != ".copied"
        if whole and not folder.is_relative_to(workdir):
            settings = read_json(path)
            found.setdefault(_fingerprint(settings), []).append(folder)
    if not found:
        raise ConfigError(f"{other} holds no finished cell of a study to reuse.")
    for cell in todo:
        folder = workdir / cell.folder
        if folder.exists():
            continue
        settings = plan.resolve(config_of(study, cell, workdir))
        candidates = found.get(_fingerprint(settings), [])
        shared = workdir / teacher_cell(study, cell.seed).folder
        own = not settings["teacher"]["num_epochs"]  # A drawn teacher is always the same.
        source = next(
            (each for each in candidates if own or _same_teachers(each, shared, folder)), None
        )
        if source is not None:
            partial = folder.with_suffix(".copied")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial)
            partial.rename(folder)


def _same_teachers(candidate: Path, shared: Path, folder: Path) -> bool:
    """Whether a finished cell may stand for ``folder`` beside the cell that trains the teachers."""
    if folder == shared:
        return not any(read_json(candidate / "config.json")["teacher"]["checkpoints"].values())
    if not (shared / "results.json").is_file():
        return False
    return _teachers(shared).items() >= _teachers(candidate).items()


CHANGES_NOTHING = {
    "data": ("data_dir", "in_memory", "num_threads"),
    "teacher": ("checkpoints",),
    "evaluate": ("batch_size",),
}
"""By section, the settings that say where things lie or how fast they go, not what comes out."""


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a cell that decide its results: two cells that share them are the same."""
    without = {
        name: {key: value for key, value in settings[name].items() if key not in keys}
        for name, keys in CHANGES_NOTHING.items()
    }
    return {**settings, **without}


def _fingerprint(settings: Mapping[str, Any]) -> str:
    return json.dumps(_decisive(settings), sort_keys=True)


def _teachers(folder: Path) -> dict[str, Any]:
    """By modality, what the teachers of a finished cell score."""
    results = read_json(folder / "results.json")
    return {
        modality: (entry["val"]["accuracy"], entry["confusion"])
        for modality, entry in results["teachers"].items()
    }


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds the workdir, so that two calls do not train one cell at once.

    Raises:
        ConfigError: If another process holds it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another process is running a study in {workdir}.") from error
        yield


def run_cells(study: Study, todo: Sequence[Cell], workdir: Path, *, jobs: int) -> None:
    """Runs cells, each once its seed's teachers are trained, and records those that fail.

    Args:
        study: The study.
        todo: Cells; finished ones are skipped, failed ones tried again.
        workdir: The study's folder.
        jobs: Worker processes at a time; if there are several, each has a core of its own.
    """
    waiting = [cell for cell in todo if status(cell, workdir) != "done"]
    for cell in waiting:
        (workdir / cell.folder / "failed.json").unlink(missing_ok=True)
    available = sorted(os.sched_getaffinity(0))
    places = [{available[n % len(available)]} if jobs > 1 else set(available) for n in range(jobs)]
    idle: list[Worker] = []
    busy: list[Worker] = []
    # disable=None: no bar where the output is not a terminal.
    bar = tqdm(total=len(todo), initial=len(todo) - len(waiting), unit="cell", disable=None)
    try:
        while waiting or busy:
            ready = [cell for cell in waiting if _ready(study, cell, workdir)]
            if ready and len(busy) < jobs:
                worker = idle.pop() if idle else Worker(study, workdir, places.pop())
                cell = _preferred(ready, worker.arm, {other.arm for other in busy})
                waiting.remove(cell)
                busy.append(worker)
                worker.give(cell)
                continue
            if not busy:  # What still waits does so for teachers that failed.
                for cell in waiting:
                    source = teacher_cell(study, cell.seed)
                    why = f"its teachers are missing: {source}: {reason(source, workdir)}"
                    _record(cell, workdir, why)
                break
            for found in connection.wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is found)
                cell, failure = worker.answer()
                _record(cell, workdir, failure)
                bar.update()
                busy.remove(worker)
                if worker.spent:
                    worker.stop()
                    places.append(worker.cores)
                else:
                    idle.append(worker)
    finally:
        for worker in (*idle, *busy):
            worker.stop()
        bar.close()


def _preferred(ready: Sequence[Cell], arm: str, elsewhere: Container[str]) -> Cell:
    """A cell of the arm whose programs a worker holds, else of one that no other worker holds."""
    return min(ready, key=lambda cell: (cell.arm != arm, cell.arm in elsewhere))


def _ready(study: Study, cell: Cell, workdir: Path) -> bool:
    source = teacher_cell(study, cell.seed)
    return cell == source or status(source, workdir) == "done"


def _record(cell: Cell, workdir: Path, failure: str) -> None:
    """Leaves the reason of a failure beside the cell."""
    if failure:
        write_json(workdir / cell.folder / "failed.json", {"reason": failure})
