"""The measurements behind docs/performance.md: whole jobs, start-up, steps."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from both_directions import DIRECTIONS, OurStep, Setting, their_step
from compare_pytorch import ROOT, measured
from timing import quartiles, seconds_in_turn

TINY = Setting({"name": "resnet_tiny"}, {"audio": (32, 13, 1), "image": (28, 28, 1)}, 10, 64)
LARGE = Setting(
    {"name": "resnet", "depth": 18}, {"audio": (224, 224, 1), "image": (224, 224, 3)}, 6, 16
)
CONFIG = "configs/av_digits.py"
SEEDS = {"nothing compiled before": 0, "another seed after it": 1}
"""Seeds of the whole jobs that run one after the other with one folder of compiled programs."""


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        name: The thing measured.
        unit: Unit of the values.
        values: One value a round; rows of one table alternate, so round i is comparable.
        reference: The row whose values are divided by this row's; empty for none.
        command: The command that measures it alone.
    """

    name: str
    unit: str
    values: Sequence[float]
    reference: str
    command: str


def table(rows: Sequence[Row]) -> str:
    """Formats rows as Markdown: median, quartiles, and the ratio of the reference to the row."""
    lines = ["| what | median | quartiles | times as fast as | command |", "| --- " * 5 + "|"]
    by_name = {row.name: row for row in rows}
    for row in rows:
        low, middle, high = quartiles(row.values)
        ratio = ""
        if row.reference:
            others = by_name[row.reference].values
            first, median, last = quartiles(
                [b / a for a, b in zip(row.values, others, strict=True)]
            )
            ratio = f"{median:.2f} ({first:.2f} to {last:.2f}) {row.reference}"
        lines.append(
            f"| {row.name} | {plain(middle)} {row.unit} | {plain(low)} to {plain(high)} | {ratio} "
            f"| `{row.command}` |"
        )
    return "\n".join(lines)


def plain(value: float) -> str:
    """Formats a number with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def jobs(workdir: Path, rounds: int, epochs: int) -> tuple[list[Row], list[Row]]:
    """Runs whole jobs in turn: PyTorch, ours from nothing compiled, and another seed after it.

    Returns:
        Rows of seconds, and of peak memory.
    """
    data = workdir / "data"

    def theirs(target: Path) -> list[str]:
        words = [sys.executable, "-m", "benchmarks.pytorch_baseline.train", f"--epochs={epochs}"]
        return [*words, f"--data-dir={data}", f"--workdir={target}", "--seed=0"]

    prepare_data(workdir)
    flags = f"--config={CONFIG}"
    names = {"PyTorch, eager": "python -m benchmarks.pytorch_baseline.train"}
    for name, seed in SEEDS.items():
        names[f"fdcmkd_jax, {name}"] = f"fdcmkd-jax train {flags} --config.seed={seed}"
    results: dict[str, list[Mapping[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        folder = workdir / f"round{number}"
        shutil.rmtree(folder, ignore_errors=True)
        progress(f"round {number + 1} of {rounds}: PyTorch")
        results["PyTorch, eager"].append(measured(theirs(folder / "torch"), environment(folder)))
        for name, seed in SEEDS.items():
            progress(f"round {number + 1} of {rounds}: {name}")
            command = [sys.executable, str(ROOT / "train.py")]
            command += train_flags(workdir, folder / f"seed{seed}", seed, epochs)
            time_and_memory = measured(command, environment(folder / "compiled"))
            results[f"fdcmkd_jax, {name}"].append(time_and_memory)
    return tuple(  # type: ignore[return-value]
        [
            Row(name, unit, [float(x[key]) for x in results[name]], reference(name), command)
            for name, command in names.items()
        ]
        for key, unit in (("seconds", "s"), ("peak_mib", "MiB"))
    )


def prepare_data(workdir: Path) -> None:
    """Prepares the data of the whole jobs once, so that nobody's time includes it."""
    data = workdir / "data"
    if data.is_dir():
        return
    for seed in SEEDS.values():
        command = [sys.executable, "-m", "benchmarks.pytorch_baseline.train", "--epochs=1"]
        command += [f"--data-dir={data}", f"--workdir={workdir / 'prepare'}", f"--seed={seed}"]
        measured(command, environment(workdir / "unused"))


def train_flags(workdir: Path, target: Path, seed: int, epochs: int) -> list[str]:
    """Returns the flags of a whole job that reads the data in ``workdir``."""
    return [
        f"--config={ROOT / CONFIG}",
        f"--workdir={target}",
        f"--config.seed={seed}",
        f"--config.data.data_dir={workdir / 'data'}",
        *(f"--config.{part}.num_epochs={epochs}" for part in ("train", "teacher")),
    ]


def reference(name: str) -> str:
    """Names the row that a whole job is compared with: the baseline."""
    return "" if name.startswith("PyTorch") else "PyTorch, eager"


def start_up(workdir: Path, rounds: int) -> list[Row]:
    """Measures ``--help``, and the time from the command to the first step with a warm cache."""
    words = [sys.executable, str(ROOT / "train.py")]
    env = environment(workdir / "compiled")
    helps, steps = [], []
    for number in range(rounds + 1):
        began = time.monotonic()
        subprocess.run([*words, "--help"], env=env, stdout=subprocess.DEVNULL, check=True)
        helps.append(time.monotonic() - began)
        target = workdir / f"start{number}"
        shutil.rmtree(target, ignore_errors=True)
        began = time.monotonic()
        process = subprocess.Popen(
            [
                *words, f"--config={ROOT / CONFIG}", f"--workdir={target}",
                f"--config.data.data_dir={workdir / 'data'}", "--config.train.log_every_steps=1",
            ],
            env=env, cwd=ROOT, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        log = target / "teachers" / "audio" / "metrics.jsonl"
        while process.poll() is None and not (log.is_file() and log.stat().st_size):
            time.sleep(0.02)
        steps.append(time.monotonic() - began)
        process.send_signal(signal.SIGKILL)
        process.wait()
    command = f"fdcmkd-jax train --config={CONFIG}"
    return [  # The first round fills the caches.
        Row("--help", "s", helps[1:], "", "fdcmkd-jax train --help"),
        Row("command to first step, compiled before", "s", steps[1:], "", command),
    ]


def profile(workdir: Path, epochs: int) -> dict[str, Any]:
    """Profiles a whole job from nothing compiled, and another seed after it.

    Returns:
        Seconds and MiB by phase, of both.
    """
    prepare_data(workdir)
    results = {}
    for name, seed in SEEDS.items():
        progress(f"profile: {name}")
        raw = workdir / f"profile{seed}.json"
        command = [sys.executable, str(ROOT / "benchmarks" / "profile_job.py"), str(raw)]
        command += train_flags(workdir, workdir / f"profile{seed}", seed, epochs)
        measured(command, environment(workdir / "profile_compiled"))
        results[name] = json.loads(raw.read_text(encoding="utf-8"))
    return results


def profile_table(results: Mapping[str, Any]) -> str:
    """Formats a profile as Markdown: a row a phase, seconds and growth of the peak memory."""
    names = list(results)
    heads = [f"{name} ({unit})" for name in names for unit in ("s", "MiB")]
    lines = ["| phase | " + " | ".join(heads) + " |"]
    lines.append("| --- " * (1 + len(heads)) + "|")
    first = results[names[0]]["seconds"]
    for phase in [*sorted(first, key=lambda phase: -first[phase]), "all"]:
        cells = []
        for name in names:
            for key in ("seconds", "mib"):
                values = results[name][key]
                number = sum(values.values()) if phase == "all" else values.get(phase, 0)
                cells.append(f"{number:.1f}" if key == "seconds" else f"{number:.0f}")
        lines.append(f"| {phase} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def steps(setting: Setting, rounds: int, *, compiled: bool, command: str) -> list[Row]:
    """Times steps of both directions in turn, here and in PyTorch."""
    one_by_one = [OurStep(setting, (name,), cached=True) for name in DIRECTIONS]

    def separate() -> None:
        for step in one_by_one:
            step()

    timed: dict[str, Callable[[], None]] = {
        "PyTorch, eager": their_step(setting),
        "fdcmkd_jax": OurStep(setting, cached=True),
        "fdcmkd_jax, one by one": separate,
        "fdcmkd_jax, teachers in the step": OurStep(setting),
    }
    if compiled:
        timed["PyTorch, compiled"] = their_step(setting, compiled=True)
    for step in timed.values():
        for _ in range(3):
            step()
    seconds = seconds_in_turn(list(timed.values()), rounds)
    return [
        Row(name, "ms", [1e3 * x for x in values], "" if not index else "PyTorch, eager", command)
        for index, (name, values) in enumerate(zip(timed, seconds, strict=True))
    ]


def environment(cache: Path) -> dict[str, str]:
    """Returns an environment for child processes that compile into a folder of their own."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }


def progress(text: str) -> None:
    """Says on standard error what is measured."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def as_data(tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Returns all raw values as plain data."""
    return {name: [row._asdict() for row in rows] for name, rows in tables.items()}
