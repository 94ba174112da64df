"""A worker process that runs cells; if it dies, the study goes on."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from multiprocessing import connection
from pathlib import Path

from fdcmkd_jax.study.cell_config import config_of
from fdcmkd_jax.study.spec import Cell, Study
from fdcmkd_jax.training.allocator import keep_freed_memory

ARMS = 6
"""Arms of one process: compiled programs are never unloaded, and those of about 14 arms fill its
memory."""

SECONDS_TO_END = 10


class Worker:
    """A process that runs one cell at a time.

    Args:
        study: The study.
        workdir: The study's folder.
        cores: The processor cores that the process may use.

    Attributes:
        connection: Becomes readable when the cell has ended.
        cores: As passed.
        arm: The arm of the last cell, whose compiled programs the process holds; empty before the
            first cell.
    """

    def __init__(self, study: Study, workdir: Path, cores: set[int]) -> None:
        spawn = multiprocessing.get_context("spawn")  # JAX has threads, which do not survive fork.
        self.connection, child_end = spawn.Pipe()
        self.cores = cores
        self.arm = ""
        self._cell: Cell | None = None
        self._busy, self._arms = False, 0
        self._process = spawn.Process(target=serve, args=(child_end, study, workdir, cores))
        self._process.start()
        child_end.close()  # Now our end of the pipe is closed when the process ends.

    @property
    def spent(self) -> bool:
        """Whether the process must not get another cell."""
        return self._arms >= ARMS or not self._process.is_alive()

    def give(self, cell: Cell) -> None:
        """Starts a cell."""
        self._cell, self._busy = cell, True
        self._arms += cell.arm != self.arm
        self.arm = cell.arm
        self.connection.send(cell)

    def answer(self) -> tuple[Cell, str]:
        """Returns the cell that has ended and the reason of its failure (empty if it succeeded)."""
        assert self._cell is not None
        self._busy = False
        try:
            return self._cell, self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode or 0
            by = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            return self._cell, f"its process was ended {by}; see log.txt beside this file"

    def stop(self) -> None:
        """Ends the process; a cell that is being run is interrupted and can be continued later."""
        if self._busy:
            self._process.terminate()
        self.connection.close()  # An idle process ends when its pipe is closed.
        self._process.join(SECONDS_TO_END)
        self._process.kill()
        self._process.join()


def serve(orders: "connection.Connection", study: Study, workdir: Path, cores: set[int]) -> None:
    """Runs the cells that arrive and answers each with the reason of its failure or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent process.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.sched_setaffinity(0, cores)  # Before JAX starts its threads.
    keep_freed_memory()
    arm = ""
    with contextlib.suppress(EOFError, BrokenPipeError):  # The parent process has ended.
        while True:
            cell = orders.recv()
            if cell.arm != arm:
                arm = cell.arm
                _clear_programs()
            orders.send(_run(study, cell, workdir))


def _clear_programs() -> None:
    import jax  # Only once the process has its cores and its allocator.

    jax.clear_caches()


def _end_with_parent() -> None:
    """Ends this process with its parent: a study that is killed leaves no process that writes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(study: Study, cell: Cell, workdir: Path) -> str:
    """Runs a cell and returns the reason of its failure in one line, or nothing."""
    # Only once the process has its cores and its allocator.
    from absl import logging

    from fdcmkd_jax import experiment
    from fdcmkd_jax.registry import ConfigError
    from fdcmkd_jax.training.compilation_cache import keep_compiled_programs
    from fdcmkd_jax.training.cpu import compile_quickly

    folder = workdir / cell.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())  # Catches the output of C++ libraries too.
    logging.set_verbosity(logging.WARNING)
    compile_quickly()
    keep_compiled_programs()  # Cells, calls and other studies share them.
    try:
        experiment.run(config_of(study, cell, workdir), folder, with_report=False)
    except experiment.StoppedError as error:
        print(f"{error}; the same command continues the study.", file=sys.stderr)
        raise SystemExit(143) from error
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or ["no message"]
        return lines[0] if isinstance(error, ConfigError) else f"{type(error).__name__}: {lines[0]}"
    return ""
