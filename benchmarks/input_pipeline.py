"""Speed and memory of the input pipeline on clips; the loader beside PyTorch's DataLoader.

    python benchmarks/input_pipeline.py loader     # images a second on one core
    python benchmarks/input_pipeline.py slow       # 16 threads on a slow source
    python benchmarks/input_pipeline.py memory     # 10,000 clips that are not kept
    python benchmarks/input_pipeline.py waiting    # a ResNet-18 step of a config

Everything runs on generated files, which `memory` links to many names. Needs the packages of
``requirements-prepare.txt`` and, for `loader`, PyTorch.
"""

import argparse
import contextlib
import functools
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from pytorch_loader import BATCH, HEIGHT, WIDTH, Pictures, read_pytorch

from fdcmkd_jax import data, experiment, tasks
from fdcmkd_jax.config.files import load_get_config
from fdcmkd_jax.data.base import Example
from fdcmkd_jax.data.clips import generate
from fdcmkd_jax.data.clips.preprocessing import of_visual
from fdcmkd_jax.data.clips.transform import ClipTransform
from fdcmkd_jax.data.host import HostStage
from fdcmkd_jax.data.input import InputOptions, assemble
from fdcmkd_jax.data.pairing import View
from fdcmkd_jax.data.stream import TrainBatches, train_batches
from fdcmkd_jax.data.vggsound50 import CLASS_NAMES, VGGSOUND50

CLIPS = 10_000


class Slow:
    """A source that takes 20 ms an example without work, as a remote disk does."""

    def __len__(self) -> int:
        return 8192

    def __getitem__(self, row: int) -> Example:
        time.sleep(0.02)
        return {"image": np.zeros((8, 8, 1), np.float32), "label": np.int32(0), "id": np.int32(row)}


def loader(repeats: int) -> None:
    """Prints images a second of this loader and of PyTorch's, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    variants: dict[str, Callable[[], Generator[Any, None, None]]] = {
        "fdcmkd_jax, 1 thread": functools.partial(_read_ours, 1),
        "fdcmkd_jax, 2 threads": functools.partial(_read_ours, 2),
        "fdcmkd_jax, 1 thread, normalized": functools.partial(_read_ours, 1, normalized=True),
        "PyTorch, in the process": functools.partial(read_pytorch, 0),
        "PyTorch, 1 worker": functools.partial(read_pytorch, 1),
        "PyTorch, 2 workers": functools.partial(read_pytorch, 2),
    }
    steps = [functools.partial(_read_some, read, repeats) for read in variants.values()]
    rates = [[repeats * BATCH / s for s in seconds] for seconds in _stretches(steps)]
    pytorch = max(statistics.median(rate) for rate in rates[3:])
    print(f"crop, resize to 224 and flip of {WIDTH}x{HEIGHT} JPEG files, batches of {BATCH}\n")
    print(
        "| loader | images a second | spread | to the best of PyTorch |\n| --- | --- | --- | --- |"
    )
    for name, rate in zip(variants, rates, strict=True):
        median = statistics.median(rate)
        print(f"| {name} | {median:.0f} | {min(rate):.0f} to {max(rate):.0f} ", end="")
        print(f"| {median / pytorch:.2f} |")


def _stretches(steps: Sequence[Callable[[], float]]) -> list[list[float]]:
    """Measures each step in five rounds; one loader runs at a time, because all read ahead."""
    rounds = [[step() for step in steps] for _ in range(5)]
    return [list(seconds) for seconds in zip(*rounds, strict=True)]


def _read_some(read: Callable[[], Generator[Any, None, None]], count: int) -> float:
    """Returns the seconds of some batches, after those that were read ahead."""
    with contextlib.closing(read()) as batches:
        for _ in range(4):
            next(batches)
        began = time.perf_counter()
        for _ in range(count):
            next(batches)
        return time.perf_counter() - began


def slow(repeats: int) -> None:
    """Prints the speed with 16 threads over that with one."""
    seconds = {}
    for threads in (1, 16):
        batches = _train_batches(Slow(), "image", None, threads)
        for _ in range(3 * threads):  # More than was read ahead.
            next(batches)
        began = time.perf_counter()
        for _ in range(repeats):
            next(batches)
        seconds[threads] = time.perf_counter() - began
        batches.close()
    print("| threads | ms a batch of 64 |\n| --- | --- |")
    for threads, total in seconds.items():
        print(f"| {threads} | {1e3 * total / repeats:.0f} |")
    print(f"\n16 threads are {seconds[1] / seconds[16]:.1f} times as fast as one.")


def memory(repeats: int) -> None:
    """Prints the peak memory of a pass over 10,000 clips; the clips are linked, not copied."""
    with tempfile.TemporaryDirectory() as folder:
        manual = _linked_clips(Path(folder), CLIPS)
        began = time.perf_counter()
        dataset = data.make(
            "vggsound50", data_dir=Path(folder), seed=0, manual_dir=str(manual), validation=0.01
        )
        print(f"prepared in {time.perf_counter() - began:.0f} s; peak {_peak_gb():.2f} GB")
        source = dataset.splits["train"]
        batches = _train_batches(source, "visual", dataset, threads=8)
        began, count = time.perf_counter(), len(source) // BATCH
        for _ in range(count):
            next(batches)
        seconds = time.perf_counter() - began
        batches.close()
        print(
            f"{count * BATCH:,} clips with 3 pictures and sound streamed in {seconds:.0f} s; "
            f"peak {_peak_gb():.2f} GB"
        )


def waiting(repeats: int) -> None:
    """Prints the share of step time in which ResNet-18 waits for data, with the shipped config."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        config = load_get_config(root / "configs" / "crema_d.py")("none")
        config.data.update(data_dir=folder, generated=12)
        config.input.batch_size, config.evaluate.batch_size = 8, 8
        config.teacher.num_epochs = 0
        config.train.update(num_epochs=1, log_every_steps=2)
        experiment.run(config, Path(folder, "run"), with_report=False)
        for direction in ("audio-to-visual", "visual-to-audio"):
            lines = Path(folder, "run/students", direction, "metrics.jsonl").read_text().split("\n")
            rows = [json.loads(line) for line in lines if line]
            shares = [row["waiting_for_data"] for row in rows if "waiting_for_data" in row]
            print(f"{direction}: waiting for data {100 * statistics.mean(shares[1:]):.1f} %")


def _train_batches(
    source: Any, modality: str, dataset: data.Dataset | None, threads: int
) -> TrainBatches:
    task = tasks.make("classification", num_classes=6)
    teachers = () if dataset is None else ("audio",)
    stage = HostStage(dataset.transform if dataset else None, (modality,), teachers)
    make_batch = functools.partial(
        assemble, task=task, modalities=(modality,), teacher_modalities=teachers
    )
    options = InputOptions(BATCH, num_threads=threads, prefetch_batches=max(2, threads))
    return train_batches(View(source), options, make_batch, stage, seed=0)


def _read_ours(threads: int, *, normalized: bool = False) -> Generator[Any, None, None]:
    dataset = data.Dataset(("visual",), ("a",), {}, transform=ClipTransform(num_samples=1))
    task = tasks.make("classification", num_classes=6)
    options = InputOptions(BATCH, num_threads=threads, prefetch_batches=2)
    make_batch = functools.partial(assemble, task=task, modalities=("visual",))
    stage = HostStage(dataset.transform, ("visual",))
    batches = train_batches(View(Pictures(4096)), options, make_batch, stage, seed=0)
    function = jax.jit(of_visual(224, 1).function)
    with contextlib.closing(batches):
        for batch in batches:
            if normalized:
                jax.block_until_ready(function(batch.inputs["visual"]))
            yield batch


def _linked_clips(folder: Path, count: int) -> Path:
    """Writes lists of many clips that are links to a few generated files."""
    few = generate.generate(VGGSOUND50, folder / "few", 1)
    originals = sorted((few / "video").iterdir())
    manual = folder / "many"
    (manual / "video").mkdir(parents=True)
    for split, size in (("train", count), ("test", 50)):
        rows = []
        for number in range(size):
            name = f"{split[:4]:_<4}{number:07d}"
            (manual / "video" / f"{name}_000030.mp4").symlink_to(originals[number % len(originals)])
            rows.append(f'{name},30,"{CLASS_NAMES[number % len(CLASS_NAMES)]}",{split}\n')
        (manual / f"{split}_tiny.csv").write_text("".join(rows), encoding="utf-8")
    return manual


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


MEASUREMENTS = {"loader": loader, "slow": slow, "memory": memory, "waiting": waiting}


def main() -> None:
    """Runs the named measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("--repeats", type=int, default=15, help="batches of each variant")
    flags = parser.parse_args()
    MEASUREMENTS[flags.measurement](flags.repeats)


if __name__ == "__main__":
    main()
