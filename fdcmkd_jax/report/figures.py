"""Figures of trained models: confusion matrices, band similarity, embeddings."""

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fdcmkd_jax.report import style
from fdcmkd_jax.report.embedding import Embedding
from fdcmkd_jax.report.run import Metrics, Model
from fdcmkd_jax.report.similarity import BANDS, PAIRINGS

NAMED_CLASSES = 30
"""Maximum number of classes for which confusion matrices show names and counts."""

SHARES = matplotlib.colormaps["Blues"]


def confusion_grid(
    columns: Sequence[Sequence[Model]], class_names: Sequence[str], metrics: Metrics
) -> Figure:
    """Draws confusion matrices on the test split, each under its primary metric.

    Args:
        columns: Models by column, one column per modality. Every entry has ``confusion``:
            ``[K, K]`` counts with one row per true class.
        class_names: K names.
        metrics: The metrics of the run.
    """
    rows = max(len(column) for column in columns)
    size = min(4.2, style.WIDTH / len(columns))
    figure = Figure(figsize=(style.WIDTH, size * rows), layout=style.roomy())
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for axes, column in zip(grid.T, columns, strict=True):
        for cell, model in zip(axes, column, strict=False):
            title = f"{model.label}: {100 * model.value('test', metrics.primary):.1f} %"
            _draw_confusion(cell, model.entry["confusion"], title, class_names, points=size * 72)
        for unused in axes[len(column) :]:
            unused.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(_share_scale(), SHARES), ax=grid, shrink=0.8 / rows, aspect=25, pad=0.02
    )
    bar.set_label("share of the true class (%)", fontsize=9, color=style.INK)
    bar.ax.tick_params(labelsize=style.SMALL, colors=style.MUTED, labelcolor=style.INK)
    bar.outline.set_visible(False)
    return figure


def _share_scale() -> PowerNorm:
    """Returns a square-root scale, on which single mistakes stay visible."""
    return PowerNorm(0.5, vmin=0, vmax=100)


def _draw_confusion(
    axes: Axes,
    confusion: Sequence[Sequence[int]],
    title: str,
    class_names: Sequence[str],
    points: float,
) -> None:
    counts = np.asarray(confusion, float)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    style.panel(axes, title, x="predicted class", y="true class")
    axes.imshow(shares, cmap=SHARES, norm=_share_scale())
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if len(class_names) > NAMED_CLASSES:
        axes.set(xticks=[], yticks=[])
        return
    names = [style.shorten(name, 12) for name in class_names]
    size = min(style.SMALL, 0.45 * points / len(names))
    upright = max(len(name) for name in names) <= 3
    axes.set_xticks(range(len(names)), names, rotation=0 if upright else 90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(length=0)
    for row, column in np.argwhere(counts > 0):
        color = "white" if shares[row, column] > 40 else style.INK
        axes.text(
            column, row, f"{counts[row, column]:.0f}",
            ha="center", va="center", color=color, fontsize=size,
        )  # fmt: skip


def similarity_bars(similarity: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Draws mean cosines by band, one bar for each kind of pairs.

    Args:
        similarity: ``{band: {pairing: cosine}}`` from `band_similarity`.
        title: Title, with the names of the two compared models.
    """
    figure = Figure(figsize=(style.WIDTH, 3.0))
    axes = figure.add_axes((0.065, 0.1, 0.75, 0.78))
    style.panel(axes, title, y="mean cosine")
    width = 0.26
    for index, (pairing, color) in enumerate(zip(PAIRINGS, style.PAIRINGS, strict=True)):
        places = np.arange(len(BANDS)) + (index - 1) * width
        values = [similarity[band][pairing] for band in BANDS]
        bars = axes.bar(places, values, 0.92 * width, color=color, label=pairing)
        texts = [f"{round(value, 2) + 0.0:.2f}" for value in values]  # Adding 0 makes -0.00 0.00.
        axes.bar_label(bars, texts, fontsize=style.SMALL, padding=2, color=style.INK)
    axes.set_xticks(range(len(BANDS)), BANDS, fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    axes.margins(y=0.12)
    style.legend_beside(axes)
    return figure


def embedding_maps(maps: Mapping[str, Embedding], class_names: Sequence[str]) -> Figure:
    """Draws teacher (rings) and student (triangles) on one map, colored by class.

    Args:
        maps: Embeddings by title, at least one.
        class_names: K names; the legend lists them if there are enough distinct colors.
    """
    figure, panels = style.two_a_row(len(maps), height=4.6)
    colors = _class_colors(len(class_names))
    for axes, (title, embedding) in zip(panels, maps.items(), strict=True):
        style.panel(axes, title)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_visible(False)
        of_points = [colors[label] for label in embedding.labels]
        x, y = embedding.teacher.T
        axes.scatter(x, y, s=16, facecolors="none", edgecolors=of_points, linewidths=0.9)
        x, y = embedding.student.T
        axes.scatter(x, y, s=16, marker="^", color=of_points, alpha=0.75, linewidths=0)
    labels = ["teacher", "student"]
    handles = [_dot(style.MUTED, "o", fill="none"), _dot(style.MUTED, "^")]
    if len(class_names) <= len(style.CLASSES):
        labels += [style.shorten(name) for name in class_names]
        handles += [_dot(color, "s") for color in style.CLASSES[: len(class_names)]]
    style.legend_below(figure, handles, labels)
    return figure


def _class_colors(count: int) -> Sequence[str] | Float[np.ndarray, "K 4"]:
    if count <= len(style.CLASSES):
        return style.CLASSES
    return matplotlib.colormaps["viridis"](np.linspace(0, 1, count))


def _dot(color: str, marker: str, fill: Literal["full", "none"] = "full") -> Line2D:
    return Line2D(
        [], [], color=color, marker=marker, linestyle="none", markersize=6, fillstyle=fill
    )
