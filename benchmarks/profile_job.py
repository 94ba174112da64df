"""Profiles a whole job: seconds, and growth of the memory, by phase.

    python benchmarks/profile_job.py profile.json --config=configs/av_digits.py --workdir=DIR

Runs ``train.py`` with the other arguments, and looks every 10 ms at the main thread's stack:
the innermost function that belongs to a phase decides. Threads in the background (checkpoints, the
report's maps) count only where the main thread waits for them.
"""

import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PERIOD = 0.01

# Part of a file's path, functions of it (empty for all), phase. The first that fits decides.
PHASES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("importlib._bootstrap", (), "importing"),
    ("jax/_src/compilation_cache", (), "compiling"),
    ("jax/_src/compiler", (), "compiling"),
    ("jax/_src/interpreters/partial_eval", (), "tracing"),
    ("jax/_src/interpreters/mlir", (), "tracing"),
    ("fdcmkd_jax/training/checkpoint", (), "checkpoints"),
    ("fdcmkd_jax/training/evaluation", (), "evaluation"),
    ("fdcmkd_jax/training/log.py", (), "logs"),
    ("fdcmkd_jax/training/feed", (), "reading and sending batches"),
    ("fdcmkd_jax/training/loop", ("_log_rows", "run"), "steps"),
    ("fdcmkd_jax/training/finite", (), "checkpoints"),
    ("fdcmkd_jax/training/loop", ("_save",), "checkpoints"),
    ("fdcmkd_jax/report/", (), "report"),
    ("fdcmkd_jax/data/", (), "preparing data"),
)
OTHER = "other"


def phase_of(frame: FrameType | None) -> str:
    """Names the phase of a stack."""
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        for part, functions, phase in PHASES:
            if part in file and (not functions or function in functions):
                return phase
        frame = frame.f_back
    return OTHER


class Sampler(threading.Thread):
    """Samples the main thread's phase, and the memory of the process.

    Attributes:
        seconds: By phase.
        growth: MiB by which the peak memory rose, by phase.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.growth: defaultdict[str, float] = defaultdict(float)
        self.done = threading.Event()
        self._main = threading.main_thread().ident

    def run(self) -> None:
        """Samples until `done` is set."""
        before, peak = time.monotonic(), 0.0
        while not self.done.wait(PERIOD):
            phase = phase_of(sys._current_frames().get(self._main or 0))
            now, resident = time.monotonic(), memory()
            self.seconds[phase] += now - before
            self.growth[phase] += max(0.0, resident - peak)
            before, peak = now, max(peak, resident)


def memory() -> float:
    """Returns the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    """Runs a job under the sampler, and writes seconds and growth by phase."""
    target, *arguments = sys.argv[1:]
    sampler = Sampler()
    sampler.start()
    from fdcmkd_jax.cli.train import main as train
    from fdcmkd_jax.training.log import write_json

    status = train(arguments)
    sampler.done.set()
    sampler.join()
    write_json(Path(target), {"seconds": sampler.seconds, "mib": sampler.growth})
    sys.exit(status)


if __name__ == "__main__":
    main()
