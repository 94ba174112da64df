"""Runs the cells of a study in worker processes and records those that fail."""

import os
from collections.abc import Container, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path

from tqdm import tqdm

from fdcmkd_jax.study.cell_config import teacher_cell
from fdcmkd_jax.study.spec import Cell, Study
from fdcmkd_jax.study.worker import Worker
from fdcmkd_jax.training.log import read_json, write_json


def status(cell: Cell, workdir: Path) -> str:
    """Returns the status of a cell: ``done``, ``failed``, ``begun`` or ``missing``."""
    folder = workdir / cell.folder
    for name, word in (("results.json", "done"), ("failed.json", "failed")):
        if (folder / name).is_file():
            return word
    return "begun" if folder.is_dir() else "missing"


def reason(cell: Cell, workdir: Path) -> str:
    """Returns the reason why a cell failed, in one line; empty if it did not fail."""
    if status(cell, workdir) != "failed":
        return ""
    return str(read_json(workdir / cell.folder / "failed.json")["reason"])


def record_failure(cell: Cell, workdir: Path, failure: str) -> None:
    """Writes the reason of a failure into the cell's folder."""
    write_json(workdir / cell.folder / "failed.json", {"reason": failure})


def run_cells(study: Study, cells: Sequence[Cell], workdir: Path, *, jobs: int) -> None:
    """Runs cells, each after the teachers of its seed are trained, and records those that fail.

    Args:
        study: The study.
        cells: Cells to run; finished ones are skipped, failed ones are tried again.
        workdir: The study's folder.
        jobs: Number of worker processes; if there are several, each has a core of its own.
    """
    waiting = [cell for cell in cells if status(cell, workdir) != "done"]
    for cell in waiting:
        (workdir / cell.folder / "failed.json").unlink(missing_ok=True)
    pool = _Pool(study, workdir, jobs)
    # disable=None: no bar if the output is not a terminal.
    bar = tqdm(total=len(cells), initial=len(cells) - len(waiting), unit="cell", disable=None)
    try:
        while waiting or pool.busy:
            ready = [cell for cell in waiting if _ready(study, cell, workdir)]
            if ready and len(pool.busy) < jobs:
                waiting.remove(pool.start(ready))
                continue
            if not pool.busy:  # The remaining cells wait for teachers that failed.
                for cell in waiting:
                    source = teacher_cell(study, cell.seed)
                    why = f"its teachers are missing: {source}: {reason(source, workdir)}"
                    record_failure(cell, workdir, why)
                break
            for cell, failure in pool.wait():
                if failure:
                    record_failure(cell, workdir, failure)
                bar.update()
    finally:
        pool.stop()
        bar.close()


class _Pool:
    """Worker processes, started when they are needed and replaced when they are spent."""

    def __init__(self, study: Study, workdir: Path, jobs: int) -> None:
        self._study, self._workdir = study, workdir
        self._idle: list[Worker] = []
        self.busy: list[Worker] = []
        available = sorted(os.sched_getaffinity(0))
        self._free_cores = [
            {available[n % len(available)]} if jobs > 1 else set(available) for n in range(jobs)
        ]

    def start(self, ready: Sequence[Cell]) -> Cell:
        """Starts one of the ready cells and returns it."""
        if self._idle:
            worker = self._idle.pop()
        else:
            worker = Worker(self._study, self._workdir, self._free_cores.pop())
        cell = next_cell(ready, worker.arm, {busy.arm for busy in self.busy})
        self.busy.append(worker)
        worker.give(cell)
        return cell

    def wait(self) -> Iterator[tuple[Cell, str]]:
        """Waits until cells end, and yields each with the reason of its failure (or nothing)."""
        ended = connection.wait([worker.connection for worker in self.busy])
        for worker in [worker for worker in self.busy if worker.connection in ended]:
            yield worker.answer()
            self.busy.remove(worker)
            if worker.spent:
                worker.stop()
                self._free_cores.append(worker.cores)
            else:
                self._idle.append(worker)

    def stop(self) -> None:
        """Ends all workers."""
        for worker in (*self._idle, *self.busy):
            worker.stop()


def next_cell(ready: Sequence[Cell], arm: str, arms_elsewhere: Container[str]) -> Cell:
    """Chooses the cell that a worker runs next, so that few programs are compiled twice.

    Args:
        ready: Cells that can be run, at least one.
        arm: The arm whose compiled programs the worker holds.
        arms_elsewhere: The arms that other workers hold.

    Returns:
        A cell of the worker's arm if there is one, else of an arm that no other worker holds, else
        the first.
    """
    return min(ready, key=lambda cell: (cell.arm != arm, cell.arm in arms_elsewhere))


def _ready(study: Study, cell: Cell, workdir: Path) -> bool:
    source = teacher_cell(study, cell.seed)
    return cell == source or status(source, workdir) == "done"
