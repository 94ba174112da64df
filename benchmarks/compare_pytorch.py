"""Comparison of FD-CMKD here and in PyTorch: same start, same batches, same recipe.

    python benchmarks/compare_pytorch.py --workdir=runs/compare --seeds=5

For each seed both train two teachers and two students on AV-digits-20 as whole jobs, in turn and
each in a process of its own; then single steps of both are timed in turn in one process. Leaves
compare.json, compare.md and compare.html in the workdir. A job that is finished is not run again.
On a GPU add --device=cuda, and --precision=tf32 or bf16.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

JAX_PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}


def main() -> None:
    """Runs the jobs that are missing, times steps, and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    parser.add_argument("--rounds", type=int, default=60, help="number of timed steps of each")
    parser.add_argument("--epochs", type=int, default=100, help="epochs of each model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=tuple(JAX_PRECISION), default="float32")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("an interval needs at least two seeds.")
    os.environ["JAX_PLATFORMS"] = arguments.device
    from compare_setup import time_steps  # Imports JAX, which then reads the platform.

    workdir = arguments.workdir.absolute()
    jobs = [
        run_jobs(workdir, seed, arguments.epochs, arguments.device, arguments.precision)
        for seed in range(arguments.seeds)
    ]
    steps = time_steps(
        workdir, arguments.rounds, arguments.device, arguments.precision, JAX_PRECISION
    )
    comparison = {
        "hardware": hardware(arguments.device),
        "precision": arguments.precision,
        "epochs": arguments.epochs,
        "jobs": jobs,
        "steps": steps,
    }
    import compare_page

    compare_page.write(workdir, comparison)


def run_jobs(workdir: Path, seed: int, epochs: int, device: str, precision: str) -> dict[str, Any]:
    """Runs both jobs of one seed, each in a process of its own; the order alternates."""
    folder = workdir / f"seed{seed}"
    finished = folder / "jobs.json"
    if finished.is_file():
        return json.loads(finished.read_text(encoding="utf-8"))
    from compare_setup import plan_of, write_start  # See main.

    write_start(folder / "start", plan_of(workdir, seed, epochs))
    environment = {
        **os.environ,
        "JAX_DEFAULT_MATMUL_PRECISION": JAX_PRECISION[precision],
        "PYTHONPATH": str(ROOT),
    }
    common = [sys.executable]
    commands = {
        "fdcmkd_jax": [
            *common, str(ROOT / "train.py"), f"--config={ROOT / 'configs' / 'av_digits.py'}",
            f"--workdir={folder / 'fdcmkd_jax'}", f"--config.seed={seed}",
            f"--config.data.data_dir={workdir / 'data'}",
            f"--config.train.num_epochs={epochs}", f"--config.teacher.num_epochs={epochs}",
        ],
        "PyTorch": [
            *common, "-m", "benchmarks.pytorch_baseline.train", f"--seed={seed}",
            f"--data-dir={workdir / 'data'}", f"--workdir={folder / 'PyTorch'}",
            f"--start={folder / 'start'}", f"--epochs={epochs}", f"--device={device}",
            f"--precision={precision}",
        ],
    }  # fmt: skip
    order = list(commands.items())
    result: dict[str, Any] = {"seed": seed}
    for name, command in order if seed % 2 == 0 else order[::-1]:
        print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
        result[name] = measured(command, environment)
    result["fdcmkd_jax"] |= our_results(folder / "fdcmkd_jax")
    windows = {
        direction: len(student["losses"])
        for direction, student in result["fdcmkd_jax"]["students"].items()
    }
    result["PyTorch"] |= their_results(folder / "PyTorch", windows)
    finished.write_text(json.dumps(result), encoding="utf-8")
    return result


def measured(
    command: list[str], environment: Mapping[str, str], cwd: Path = ROOT
) -> dict[str, float]:
    """Runs a command; returns wall-clock seconds and peak resident memory in MiB."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=dict(environment), cwd=cwd, stdout=subprocess.DEVNULL, start_new_session=True
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"failed: {' '.join(command)}")
    return {"seconds": seconds, "peak_mib": usage.ru_maxrss / 1024}


def our_results(run: Path) -> dict[str, Any]:
    """Reads test accuracies and training losses of both students of a run."""
    entries = json.loads((run / "results.json").read_text(encoding="utf-8"))
    result = {}
    for direction, entry in entries["students"].items():
        log = run / "students" / direction.replace("->", "-to-") / "metrics.jsonl"
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        result[direction] = {
            "test": entry["test"]["accuracy"],
            "last": entry["last"]["test"]["accuracy"],
            "losses": [row["loss"] for row in rows if row["split"] == "train"],
        }
    return {"students": result}


def their_results(run: Path, windows: Mapping[str, int]) -> dict[str, Any]:
    """Reads those of the baseline; its losses of single steps are averaged over windows."""
    entries = json.loads((run / "results.json").read_text(encoding="utf-8"))["students"]
    return {
        "students": {
            direction: {
                "test": entries[direction]["test"],
                "last": entries[direction]["last"],
                "losses": np.mean(
                    np.reshape(entries[direction]["losses"], (count, -1)), 1
                ).tolist(),
            }
            for direction, count in windows.items()
        }
    }


def hardware(device: str) -> str:
    """Describes the machine and the versions of both libraries."""
    import jax
    import torch

    versions = f"jax {jax.__version__}, PyTorch {torch.__version__.split('+')[0]}"
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, {versions}"
    model = "CPU"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {versions}"


if __name__ == "__main__":
    main()
