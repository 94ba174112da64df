"""The tables and the page of `compare_pytorch.py`."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fdcmkd_jax.report import page, style
from fdcmkd_jax.study.statistics import t_interval

DIRECTIONS = ("image->audio", "audio->image")
SYSTEMS = ("fdcmkd_jax", "PyTorch")
BATCH_SIZE = 64


def write(workdir: Path, comparison: Mapping[str, Any]) -> None:
    """Writes compare.json, compare.md and compare.html, and prints the tables."""
    tables = {"Accuracy": accuracies(comparison["jobs"]), "Cost": costs(comparison)}
    text = "\n\n".join(markdown(rows) for rows in tables.values())
    (workdir / "compare.json").write_text(json.dumps(comparison), encoding="utf-8")
    (workdir / "compare.md").write_text(text + "\n", encoding="utf-8")
    html = page.fill(
        (Path(__file__).parent / "compare_pytorch.html").read_text(encoding="utf-8"),
        hardware=comparison["hardware"],
        precision=comparison["precision"],
        seeds=len(comparison["jobs"]),
        epochs=comparison["epochs"],
        batch_size=BATCH_SIZE,
        tables=tables,
        curves=style.data_uri(curves(comparison["jobs"])),
        apart=style.data_uri(apart(comparison["jobs"])),
    )
    (workdir / "compare.html").write_text(html, encoding="utf-8")
    print(text)
    print(f"page: {workdir / 'compare.html'}")


def accuracies(jobs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Tabulates test accuracy in percent with 95 % t intervals, and the paired difference."""
    rows: list[tuple[str, ...]] = [("student", *SYSTEMS, "difference, paired")]
    for key, words in (("test", "validated step"), ("last", "last step")):
        for direction in DIRECTIONS:
            ours, theirs = (
                [100 * job[name]["students"][direction][key] for job in jobs] for name in SYSTEMS
            )
            difference = [a - b for a, b in zip(ours, theirs, strict=True)]
            cells = (str(t_interval(values)) for values in (ours, theirs, difference))
            rows.append((f"{direction}, {words}", *cells))
    return rows


def costs(comparison: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Tabulates times and memory, and their ratio to those of this library."""
    steps, jobs = comparison["steps"], comparison["jobs"]
    median = {name: statistics.median(values) for name, values in steps.items()}
    rows: list[tuple[str, ...]] = [("", "value", "relative")]
    for name, values in steps.items():
        ratios = [b / a for a, b in zip(steps["fdcmkd_jax"], values, strict=True)]
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        ratio = "" if name == "fdcmkd_jax" else f"{middle:.2f} ({low:.2f} to {high:.2f})"
        rate = BATCH_SIZE / median[name]
        words = f"{1e3 * median[name]:.1f} ms, {rate:.0f} pairs a second"
        rows.append((f"step of both directions: {name}", words, ratio))
    for key, label, unit in (
        ("seconds", "whole job", "s"),
        ("peak_mib", "peak memory of the job", "MiB"),
    ):
        for name in SYSTEMS:
            mean = statistics.mean(job[name][key] for job in jobs)
            ratios = [job[name][key] / job["fdcmkd_jax"][key] for job in jobs]
            ratio = "" if name == "fdcmkd_jax" else f"{statistics.mean(ratios):.2f}"
            rows.append((f"{label}: {name}", f"{mean:.0f} {unit}", ratio))
    return rows


def curves(jobs: list[dict[str, Any]]) -> Any:
    """Plots the loss of both students by step, for every seed."""
    figure, panels = _panels("training loss")
    for direction, axes in panels.items():
        for job in jobs:
            for name, dashes, color in zip(
                SYSTEMS, ("-", ":"), (style.TERMS["low"], style.TERMS["high"]), strict=True
            ):
                losses = job[name]["students"][direction]["losses"]
                label = name if job is jobs[0] else None
                axes.plot(losses, dashes, color=color, linewidth=1, alpha=0.8, label=label)
        axes.legend(frameon=False, fontsize=style.SMALL)
    return figure


def apart(jobs: list[dict[str, Any]]) -> Any:
    """Plots the relative difference of the two loss curves of each seed."""
    figure, panels = _panels("relative difference")
    for direction, axes in panels.items():
        for job in jobs:
            ours, theirs = (np.array(job[n]["students"][direction]["losses"]) for n in SYSTEMS)
            axes.plot(np.abs(ours - theirs) / theirs, color=style.INK, linewidth=0.8, alpha=0.6)
    return figure


def _panels(y: str) -> tuple[Any, dict[str, Any]]:
    """Makes a figure with one panel per direction over epochs, on a logarithmic scale."""
    figure = Figure(figsize=(style.WIDTH, 3.2), layout=style.roomy())
    panels = dict(zip(DIRECTIONS, figure.subplots(1, 2, sharey=True), strict=True))
    for direction, axes in panels.items():
        style.panel(axes, direction, x="epoch", y=y)
        axes.set_yscale("log")
    return figure, panels


def markdown(rows: list[tuple[str, ...]]) -> str:
    """Formats a table whose first row is its head."""
    lines = [" | ".join(row) for row in (rows[0], ("---",) * len(rows[0]), *rows[1:])]
    return "\n".join(f"| {line} |" for line in lines)
