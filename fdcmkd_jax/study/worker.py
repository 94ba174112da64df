"""A process that runs cells one after another, and dies without taking the study with it."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from multiprocessing import connection
from pathlib import Path

from fdcmkd_jax.allocator import keep_freed_memory
from fdcmkd_jax.study.spec import Cell, Study, config_of

ARMS = 6
"""Arms of one process: compiled programs are never unloaded, and those of about 14 fill its
memory."""

SECONDS_TO_END = 10


class Worker:
    """A process that runs one cell at a time.

    Args:
        study: The study.
        workdir: Its folder.
        cores: Where the process runs.

    Attributes:
        connection: Ready for reading when the cell has ended.
        cores: As given.
        arm: That of the last cell, whose compiled programs the process holds; empty before it.
    """

    def __init__(self, study: Study, workdir: Path, cores: set[int]) -> None:
        spawn = multiprocessing.get_context("spawn")  # JAX has threads, which a fork would lose.
        self.connection, theirs = spawn.Pipe()
        self.cores = cores
        self.arm = ""
        self._cell: Cell | None = None
        self._busy, self._arms = False, 0
        self._process = spawn.Process(target=serve, args=(theirs, study, workdir, cores))
        self._process.start()
        theirs.close()  # Now ours ends when the process does.

    @property
    def spent(self) -> bool:
        """Whether it should get no further cell."""
        return self._arms >= ARMS or not self._process.is_alive()

    def give(self, cell: Cell) -> None:
        """Starts a cell."""
        self._cell, self._busy = cell, True
        self._arms += cell.arm != self.arm
        self.arm = cell.arm
        self.connection.send(cell)

    def answer(self) -> tuple[Cell, str]:
        """The cell that has ended, and why it failed in one line; empty if it did not."""
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
        """Ends the process: at once in the midst of a cell, which can be continued later."""
        if self._busy:
            self._process.terminate()
        self.connection.close()  # An idle process ends when there is nobody to listen to.
        self._process.join(SECONDS_TO_END)
        self._process.kill()
        self._process.join()


def serve(orders: "connection.Connection", study: Study, workdir: Path, cores: set[int]) -> None:
    """Runs the cells that arrive, answering each with the reason of its failure or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.sched_setaffinity(0, cores)  # Before JAX starts its threads.
    keep_freed_memory()
    arm = ""
    with contextlib.suppress(EOFError):
        while True:
            cell = orders.recv()
            if cell.arm != arm:
                arm = cell.arm
                _forget_programs()
            orders.send(_run(study, cell, workdir))


def _forget_programs() -> None:
    import jax

    jax.clear_caches()


def _end_with_parent() -> None:
    """A study killed outright leaves no process behind that would go on writing."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(study: Study, cell: Cell, workdir: Path) -> str:
    import jax
    from absl import logging

    from fdcmkd_jax import experiment
    from fdcmkd_jax.tables import ConfigError

    folder = workdir / cell.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())  # What libraries in C++ print included.
    logging.set_verbosity(logging.WARNING)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # Cells and calls share programs.
        jax.config.update("jax_compilation_cache_dir", str(workdir / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        experiment.run(config_of(study, cell, workdir), folder, with_report=False)
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or ["no message"]
        return lines[0] if isinstance(error, ConfigError) else f"{type(error).__name__}: {lines[0]}"
    return ""
