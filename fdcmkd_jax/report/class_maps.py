"""Pictures, labels and predicted classes side by side, and metrics of each class as bars."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fdcmkd_jax.report import style
from fdcmkd_jax.report.embedding import evenly
from fdcmkd_jax.report.run import Model

IMAGES = 4
"""Number of test images that are shown."""

NAMED = 15
"""Maximum number of classes for which there is a legend."""


def draw(models: Sequence[Model], class_names: Sequence[str]) -> Figure:
    """Draws a few test images, a row each: inputs, labels, then each model's predictions.

    Args:
        models: Models with ``maps`` of the same images, at least one.
        class_names: K names.
    """
    parts = [(model, model.maps) for model in models if model.maps is not None]
    labels = parts[0][1].label_map
    chosen = evenly(len(labels), IMAGES)
    colors = class_colors(len(class_names))

    def colored(maps: UInt8[np.ndarray, "N h w"]) -> Float[np.ndarray, "n h w 3"]:
        return colors[np.minimum(maps[chosen], len(class_names))]

    pictures = {
        model.modality: part.picture[chosen] for model, part in parts if part.picture is not None
    }
    columns = [
        *pictures.items(),
        ("labels", colored(labels)),
        *(
            (model.label.replace(" ", "\n", 1), colored(part.predicted_map))
            for model, part in parts
        ),
    ]
    _, height, width = labels.shape
    side = style.WIDTH / max(len(columns), 3)
    figure = Figure(
        figsize=(side * len(columns), side * height / width * len(chosen) + 0.8),
        layout=style.roomy(),
    )
    grid = figure.subplots(len(chosen), len(columns), squeeze=False)
    for axes, (title, images) in zip(grid.T, columns, strict=True):
        axes[0].set_title(title, fontsize=10, color=style.INK)
        for cell, image in zip(axes, images, strict=True):
            cell.imshow(image, interpolation="nearest", cmap="gray", vmin=0, vmax=255)
            cell.set_axis_off()
    if len(class_names) <= NAMED:
        patches = [
            Patch(color=color, label=style.plain(name))
            for color, name in zip(colors[:-1], class_names, strict=True)
        ]
        figure.legend(
            handles=patches,
            loc="outside lower center",
            ncols=6,
            fontsize=style.SMALL,
            frameon=False,
        )
    return figure


def class_bars(
    values: Mapping[str, Sequence[float]],
    title: str,
    class_names: Sequence[str],
    colors: Mapping[str, str],
) -> Figure:
    """Draws one metric of each class, one bar for each model.

    Args:
        values: By model, K shares in [0, 1]; at least one model.
        title: The metric's name.
        class_names: K names.
        colors: The color of each model.
    """
    figure = Figure(figsize=(style.WIDTH, 3.4), layout=style.roomy())
    axes = figure.subplots()
    style.panel(axes, f"{title} on the test split", y=f"{title} (%)")
    width = 0.8 / len(values)
    places = np.arange(len(class_names))
    for index, (label, shares) in enumerate(values.items()):
        shift = (index - (len(values) - 1) / 2) * width
        heights = 100 * np.asarray(shares)
        axes.bar(places + shift, heights, 0.95 * width, color=colors[label], label=label)
    many = len(class_names) > NAMED
    names = [style.shorten(name) for name in class_names]
    axes.set_xticks(places, names, fontsize=style.SMALL, rotation=90 if many else 0)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_ylim(0, 100)
    style.legend_below(figure, *axes.get_legend_handles_labels())
    return figure


def class_colors(count: int) -> Float[np.ndarray, "K1 3"]:
    """Returns the color of each class, and white for ignored pixels in the last row."""
    if count <= len(style.CLASSES):
        colors = [to_rgb(color) for color in style.CLASSES[:count]]
    else:
        hues = matplotlib.colormaps["hsv"](np.arange(count) / count)[:, :3]
        # Neighbors in number differ in lightness, too.
        colors = [tuple(hue * (1.0, 0.75, 0.5)[k % 3]) for k, hue in enumerate(hues)]
    return np.array([*colors, (1.0, 1.0, 1.0)])
