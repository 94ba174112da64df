"""Growth of time and memory with examples, batch, classes, devices and terms.

    python benchmarks/growth.py docs/performance

Each point is a step of FD-CMKD (`resnet_tiny`, teacher's outputs known), timed after compiling; the
number of examples is that of an epoch read by the input pipeline. Each curve changes one number.
Writes growth.json and growth.svg into the folder.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CURVES: dict[str, tuple[int, ...]] = {
    "examples": (500, 2000, 8000),
    "batch": (16, 64, 256),
    "classes": (10, 300, 10000),
    "devices": (1, 2, 4),
    "terms": (1, 3, 8),
}
REPEATS = 7


def main() -> None:
    """Measures all curves, each point in a process of its own, and draws them."""
    if len(sys.argv) == 3:
        print(json.dumps(POINTS[sys.argv[1]](int(sys.argv[2]))))
        return
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    results = {name: [point(name, x) for x in values] for name, values in CURVES.items()}
    (folder / "growth.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(results, folder / "growth.svg")


def point(curve: str, x: int) -> dict[str, float]:
    """Measures one point in a process of its own."""
    print(f"{time.strftime('%H:%M:%S')} {curve} {x}", file=sys.stderr, flush=True)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    if curve == "devices":
        flag = f"--xla_force_host_platform_device_count={x}"
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    result = subprocess.run(
        [sys.executable, str(Path(__file__)), curve, str(x)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {"x": x, **json.loads(result.stdout.splitlines()[-1])}


def step(**changes: Any) -> dict[str, float]:
    """Measures milliseconds of a step and MiB that XLA plans for its intermediate values."""
    from both_directions import OurStep
    from measure import TINY

    method = changes.pop("method", None)
    taken = OurStep(TINY._replace(**changes), ("audio->image",), method, cached=True)
    _, memory = taken.analysis()
    seconds = []
    for _ in range(REPEATS + 2):
        began = time.perf_counter()
        taken()
        seconds.append(time.perf_counter() - began)
    return {"milliseconds": 1e3 * statistics.median(seconds[2:]), "MiB": memory}


def terms(count: int) -> dict[str, float]:
    """Measures a step with a number of losses on the features beside the task's."""
    from fdcmkd_jax import methods

    copies = {f"copy{number}": methods.make("mse") for number in range(count)}
    return step(method=methods.join(copies))


def epoch(count: int) -> dict[str, float]:
    """Measures the reading of an epoch of examples in memory, and the process's peak memory."""
    import functools

    import numpy as np

    from fdcmkd_jax import tasks
    from fdcmkd_jax.data.host import HostStage
    from fdcmkd_jax.data.input import InputOptions, assemble
    from fdcmkd_jax.data.stream import train_batches

    random = np.random.default_rng(0)
    records = [
        {
            "audio": random.normal(size=(32, 13, 1)).astype(np.float32),
            "image": random.normal(size=(28, 28, 1)).astype(np.float32),
            "label": np.int32(row % 10),
            "labelled": np.True_,
            "id": np.int32(row),
        }
        for row in range(count)
    ]
    task = tasks.make("classification", num_classes=10)
    make_batch = functools.partial(assemble, task=task, modalities=("audio", "image"))
    stage = HostStage(None, ("audio", "image"))
    options = InputOptions(batch_size=50)
    batches = train_batches(records, options, make_batch, stage, seed=0)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(count // 50):
            next(batches)
        seconds.append(time.perf_counter() - began)
    batches.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"milliseconds": 1e3 * statistics.median(seconds), "MiB": peak}


POINTS: dict[str, Callable[[int], dict[str, float]]] = {
    "examples": epoch,
    "batch": lambda x: step(batch_size=x),
    "classes": lambda x: step(num_classes=x),
    "devices": lambda x: step(),
    "terms": terms,
}


def draw(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draws time and memory of each curve, both axes logarithmic, beside a line of slope 1."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    from fdcmkd_jax.report import style

    figure = Figure(figsize=(style.WIDTH * 1.3, 4.6), layout="constrained")
    panels = figure.subplots(2, len(results))
    for column, (name, points) in enumerate(results.items()):
        x = [point["x"] for point in points]
        for row, key in enumerate(("milliseconds", "MiB")):
            axes, y = panels[row][column], [point[key] for point in points]
            style.panel(axes, name if not row else "", x=name, y=key if not column else "")
            axes.loglog(x, y, "o-", color=style.TERMS["low"], label="measured")
            proportional = [y[0] * value / x[0] for value in x]
            axes.loglog(x, proportional, ":", color=style.MUTED, label="proportional")
            axes.set_xticks(x, [f"{value:,.0f}" for value in x])
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.minorticks_off()
    panels[0][0].legend(frameon=False, fontsize=style.SMALL)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
