"""Style of figures: the palette, panels, legends, and SVG output."""

import base64
import io
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from fdcmkd_jax.report.run import Run

WIDTH = 10.0
"""Width of a figure in inches; the page shows it at about this size."""

INK, MUTED, GRID = "#222222", "#6b6b6b", "#e4e4e4"
SMALL = 8.5
"""Font size of tick labels and legends, in points."""

# Okabe and Ito's palette without its yellow, which is too light for lines on white. The usual terms
# have the same color in every run; other terms share the remaining colors.
TERMS = {
    "task": "#000000",
    "low": "#0072b2",
    "high": "#d55e00",
    "align": "#009e73",
    "auxiliary": "#cc79a7",
}
OTHER_TERMS = ("#e69f00", "#56b4e9", "#7a5195", "#999999", "#117733", "#882255")
# Paul Tol's muted palette and a gray, reordered so that neighbors differ in lightness too.
CLASSES = (
    "#332288", "#cc6677", "#117733", "#88ccee", "#882255",
    "#ddcc77", "#44aa99", "#999933", "#aa4499", "#777777",
)  # fmt: skip
MODELS = (
    "#332288", "#aa4499", "#117733", "#cc6677", "#44aa99",
    "#999933", "#882255", "#88ccee", "#777777", "#ddcc77",
)  # fmt: skip
PAIRINGS = ("#0072b2", "#e69f00", "#999999")


TERM_KEYS = ("terms", "gradient_norms")
"""Keys of training rows with one value per term."""


class Palette(NamedTuple):
    """The color of each loss term and of each model (by its label), the same in every figure."""

    terms: dict[str, str]
    models: dict[str, str]


def palette(run: Run) -> Palette:
    """Chooses colors for a run, in the order in which legends list terms and models."""
    rows = [row for model in run.models for row in model.train]
    logged = {term for row in rows for key in TERM_KEYS for term in row.get(key, {})}
    return Palette(term_colors(logged), _assign((model.label for model in run.models), MODELS))


def term_colors(terms: Iterable[str]) -> dict[str, str]:
    """Chooses a color for each loss term, in the order in which legends list them."""
    names = set(terms)
    usual = {term: color for term, color in TERMS.items() if term in names}
    return usual | _assign(sorted(names - set(TERMS)), OTHER_TERMS)


def _assign(names: Iterable[str], colors: tuple[str, ...]) -> dict[str, str]:
    return {name: colors[index % len(colors)] for index, name in enumerate(names)}


def plain(text: str) -> str:
    """Escapes text so that matplotlib draws it literally, dollar signs included."""
    return text.replace("$", r"\$")


def shorten(text: str, limit: int = 14) -> str:
    """Shortens text to at most ``limit`` characters and escapes it for matplotlib.

    Examples:
        >>> shorten("accordion player", 10)
        'accordion…'
    """
    return plain(text if len(text) <= limit else text[: limit - 1] + "…")


def panel(axes: Axes, title: str, *, x: str = "", y: str = "") -> None:
    """Styles one panel: title at the left, two spines, a light grid, small ticks."""
    # At a fixed height: matplotlib would lay out the whole panel once more to find one.
    axes.set_title(plain(title), loc="left", y=1.0, fontsize=10, color=INK, fontweight="bold")
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=SMALL, colors=MUTED, labelcolor=INK, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def legend_beside(axes: Axes) -> None:
    """Adds a legend to the right of a panel, where it hides no curve."""
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.04),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.6,
    )


def legend_below(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    """Adds a legend below all panels of a figure with constrained layout."""
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 7),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.6,
        columnspacing=1.6,
    )


def roomy() -> ConstrainedLayoutEngine:
    """Returns a layout with space between the rows of a grid."""
    return ConstrainedLayoutEngine(hspace=0.05, wspace=0.04)


def two_a_row(count: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """Makes a figure of ``count`` panels, two per row, each about ``height`` inches high."""
    rows, columns = math.ceil(count / 2), min(count, 2)
    figure = Figure(figsize=(WIDTH, height * rows + 0.4), layout=roomy())
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels[:count]


def data_uri(figure: Figure) -> str:
    """Returns the figure as an SVG data URI; the same figure gives the same text."""
    buffer = io.BytesIO()
    # The salt determines the names of clip paths, which are random without it.
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
