"""Tests of the order in which cells are run, with workers that train nothing."""

from multiprocessing import Pipe

import pytest
from run_builders import DIRECTIONS, put_cell

from fdcmkd_jax.study import scheduler
from fdcmkd_jax.study.cell_config import cells, teacher_cell
from fdcmkd_jax.study.scheduler import next_cell, reason, run_cells, status
from fdcmkd_jax.study.spec import Cell


class FakeWorker:
    """Finishes a cell at once, unless its arm is in ``failing``; records it in ``cells_run``."""

    failing = ()
    cells_run = ()

    def __init__(self, study, workdir, cores):
        del study
        self.connection, self._theirs = Pipe()
        self.cores, self._workdir, self._count, self.arm = cores, workdir, 0, ""

    @property
    def spent(self):
        return self._count >= 2

    def give(self, cell):
        self._count += 1
        self._cell, self.arm = cell, cell.arm
        type(self).cells_run += (cell,)
        self._theirs.send(None)

    def answer(self):
        self.connection.recv()
        if self._cell.arm in self.failing:
            return self._cell, "a reason"
        put_cell(self._workdir, self._cell, {DIRECTIONS[0]: 0.5})
        return self._cell, ""

    def stop(self):
        self.connection.close()
        self._theirs.close()


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setattr(scheduler, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "cells_run", ())
    monkeypatch.setattr(FakeWorker, "failing", ())
    return FakeWorker


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_every_cell_is_run_once_and_after_its_teachers(jobs, toy, workers, tmp_path):
    run_cells(toy, cells(toy), tmp_path, jobs=jobs)
    assert sorted(map(str, workers.cells_run)) == sorted(map(str, cells(toy)))
    for cell in workers.cells_run:
        before = workers.cells_run[: workers.cells_run.index(cell)]
        assert cell.arm == "none" or teacher_cell(toy, cell.seed) in before


def test_a_worker_stays_with_its_arm_and_then_takes_one_that_no_other_holds():
    ready = [Cell(arm, seed) for seed in range(2) for arm in ("a", "b", "c")]
    assert next_cell(ready, "c", {"a"}) == Cell("c", 0)
    assert next_cell(ready, "gone", {"a"}) == Cell("b", 0)
    assert next_cell(ready, "gone", {"a", "b", "c"}) == Cell("a", 0)


def test_a_finished_cell_is_skipped_and_a_failed_one_tried_again(
    toy, workers, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "failing", ("mismatched",))
    run_cells(toy, cells(toy), tmp_path, jobs=1)
    failed = [cell for cell in cells(toy) if cell.arm == "mismatched"]
    assert {reason(cell, tmp_path) for cell in failed} == {"a reason"}
    monkeypatch.setattr(workers, "failing", ())
    monkeypatch.setattr(workers, "cells_run", ())
    run_cells(toy, cells(toy), tmp_path, jobs=1)
    assert list(workers.cells_run) == failed
    assert {status(cell, tmp_path) for cell in cells(toy)} == {"done"}


def test_cells_whose_teachers_failed_say_so_and_other_seeds_go_on(
    toy, workers, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "failing", ("none",))
    put_cell(tmp_path, Cell("none", 2), {DIRECTIONS[0]: 0.5})
    run_cells(toy, cells(toy), tmp_path, jobs=2)
    why = reason(Cell("fd_cmkd", 0), tmp_path)
    assert why == "its teachers are missing: none, seed 0: a reason"
    assert status(Cell("fd_cmkd", 2), tmp_path) == "done"
