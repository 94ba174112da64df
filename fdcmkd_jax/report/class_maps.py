"""Pictures of labels and of predicted classes side by side."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
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
    """Draws a few test images, a row each: the labels, then each model's predictions.

    Args:
        models: Models with ``maps`` of the same images, at least one.
        class_names: K names.
    """
    parts = [model.maps for model in models if model.maps is not None]
    columns = [
        ("labels", parts[0].label_map),
        *((model.label, part.predicted_map) for model, part in zip(models, parts, strict=True)),
    ]
    chosen = evenly(len(parts[0].label_map), IMAGES)
    _, height, width = parts[0].label_map.shape
    side = style.WIDTH / max(len(columns), 3)
    figure = Figure(
        figsize=(side * len(columns), side * height / width * len(chosen) + 0.8),
        layout=style.roomy(),
    )
    colors = class_colors(len(class_names))
    grid = figure.subplots(len(chosen), len(columns), squeeze=False)
    for axes, (title, maps) in zip(grid.T, columns, strict=True):
        axes[0].set_title(title, fontsize=10, color=style.INK)
        for cell, image in zip(axes, maps[chosen], strict=True):
            cell.imshow(colors[np.minimum(image, len(class_names))], interpolation="nearest")
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


def class_colors(count: int) -> Float[np.ndarray, "K1 3"]:
    """Returns the color of each class, and white for ignored pixels in the last row."""
    if count <= len(style.CLASSES):
        colors = [to_rgb(color) for color in style.CLASSES[:count]]
    else:
        hues = matplotlib.colormaps["hsv"](np.arange(count) / count)[:, :3]
        # Neighbors in number differ in lightness, too.
        colors = [tuple(hue * (1.0, 0.75, 0.5)[k % 3]) for k, hue in enumerate(hues)]
    return np.array([*colors, (1.0, 1.0, 1.0)])
