"""Several methods and controls on AV-digits over several seeds, as a Markdown table.

    python benchmarks/av_digits_table.py --setting=labelled --seeds=5 --workdir=runs/table
    python benchmarks/av_digits_table.py --setting=unlabelled --seeds=3 --workdir=runs/table

All arms of a seed share its split, its teachers and the students' starting weights. A cell that is
finished is not run again, so a call that was cut off continues.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# Each arm: what it is called, and the presets of configs/av_digits.py that make it. The first
# trains the teachers that the others share.
ARMS = {
    "labelled": {
        "no distillation": "none",
        "Hinton, T = 4": "logit",
        "feature MSE": "mse",
        "auxiliary heads alone, no teacher": "auxiliary",
        "FD-CMKD, weight 1": "weight_1",
        "FD-CMKD, weight 10": "",
        "FD-CMKD, weight 10, relabelled teacher": "relabelled",
    },
    "unlabelled": {
        "supervised only, 200 labels": "unlabelled,supervised",
        "Hinton, T = 4, on all pairs": "unlabelled,logit",
        "FD-CMKD, weight 10": "unlabelled",
        "FD-CMKD, weight 10, mismatched pairs": "unlabelled,mismatched",
    },
}


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", choices=sorted(ARMS), required=True)
    parser.add_argument("--seeds", type=int, default=5, help="run seeds 0 to this, exclusive")
    parser.add_argument("--workdir", type=Path, required=True, help="folder of all runs")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="seeds at a time, each on its own core"
    )
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("an interval needs at least two seeds.")
    folder = arguments.workdir.absolute() / arguments.setting
    spawn = multiprocessing.get_context("spawn")
    # A process per seed: compiled programs are never unloaded, and a few hundred fill its memory.
    with (
        spawn.Manager() as manager,
        concurrent.futures.ProcessPoolExecutor(
            arguments.jobs, mp_context=spawn, max_tasks_per_child=1
        ) as pool,
    ):
        cores = manager.Queue()
        for core in sorted(os.sched_getaffinity(0)):
            cores.put(core)
        work = functools.partial(run_seed, arguments.setting, folder, cores)
        results = list(pool.map(work, range(arguments.seeds)))
    print(table(list(ARMS[arguments.setting]), results))


def run_seed(setting: str, folder: Path, cores: Any, seed: int) -> dict[str, dict[str, Any]]:
    """All arms of one seed, on one core taken from the queue: the results of each by its name."""
    core = cores.get()
    os.sched_setaffinity(0, {core})
    import jax
    from absl import logging

    from fdcmkd_jax import experiment

    logging.set_verbosity(logging.WARNING)
    # Shares compiled programs between seeds and calls.
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    results: dict[str, dict[str, Any]] = {}
    first: Path | None = None
    for number, (arm, presets) in enumerate(ARMS[setting].items()):
        config = _configs().get_config(presets)
        config.seed = seed
        config.data.data_dir = str(folder / "data")
        workdir = folder / f"seed{seed}" / f"arm{number}"
        if first is None:
            first = workdir
        else:
            for modality in config.teacher.checkpoints:
                config.teacher.checkpoints[modality] = str(first / "teachers" / modality)
        with contextlib.redirect_stdout(sys.stderr):
            results[arm] = experiment.run(config, workdir, with_report=False)
            print(f"seed {seed}: {arm} done", flush=True)
        jax.clear_caches()
    cores.put(core)
    return results


def table(arms: Sequence[str], results: Sequence[Mapping[str, Any]]) -> str:
    """Test accuracy in percent with 95 % t intervals, and the paired gain over the first arm."""
    from fdcmkd_jax.metrics import t_interval

    def accuracies(arm: str, direction: str, last: bool) -> list[float]:
        entries = [seed[arm]["students"][direction] for seed in results]
        return [100 * (e["last"] if last else e)["test"]["accuracy"] for e in entries]

    directions = {"audio student": "image->audio", "image student": "audio->image"}
    header = ["arm", *(f"{who}{what}" for who in directions for what in ("", ", gain", ", last"))]
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    teachers = ["teachers, trained alone"]
    for modality in ("audio", "image"):
        entries = [seed[arms[0]]["teachers"][modality] for seed in results]
        for chosen in (entries, None, [entry["last"] for entry in entries]):
            values = [100 * entry["test"]["accuracy"] for entry in chosen or []]
            teachers.append(str(t_interval(values)) if values else "")
    lines.append(" | ".join(teachers))
    for arm in arms:
        row = [arm]
        for direction in directions.values():
            found = accuracies(arm, direction, last=False)
            base = accuracies(arms[0], direction, last=False)
            gain = [value - other for value, other in zip(found, base, strict=True)]
            row += [
                str(t_interval(found)),
                "" if arm == arms[0] else str(t_interval(gain)),
                str(t_interval(accuracies(arm, direction, last=True))),
            ]
        lines.append(" | ".join(row))
    return "\n".join(f"| {line} |" for line in lines)


def _configs() -> Any:
    """The module configs/av_digits.py, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("av_digits", ROOT / "configs" / "av_digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
