"""How figures look: one palette, one panel style, one way into the page."""

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
"""Inches of a figure; the page shows it at about its true size, so 9 points read as 9 points."""

INK, MUTED, GRID = "#222222", "#6b6b6b", "#e4e4e4"
SMALL = 8.5
"""Points of tick labels and legends."""

# Okabe and Ito's palette without its yellow, which is too light for lines on white. The usual terms
# keep their colour from run to run; others share what is left.
TERMS = {
    "task": "#000000",
    "low": "#0072b2",
    "high": "#d55e00",
    "align": "#009e73",
    "auxiliary": "#cc79a7",
}
OTHER_TERMS = ("#e69f00", "#56b4e9", "#7a5195", "#999999", "#117733", "#882255")
# Paul Tol's muted palette and a grey, reordered so that neighbours differ in lightness too.
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
"""What training rows log by term."""


class Palette(NamedTuple):
    """The colour of each loss term and of each model (by its label), the same in every figure."""

    terms: dict[str, str]
    models: dict[str, str]


def palette(run: Run) -> Palette:
    """Colours for a run, in the order legends list terms and models."""
    rows = [row for model in run.models for row in model.train]
    logged = {term for row in rows for key in TERM_KEYS for term in row.get(key, {})}
    return Palette(term_colours(logged), _assign((model.label for model in run.models), MODELS))


def term_colours(terms: Iterable[str]) -> dict[str, str]:
    """The colour of each loss term of a method, in the order legends list them."""
    named = set(terms)
    usual = {term: colour for term, colour in TERMS.items() if term in named}
    return usual | _assign(sorted(named - set(TERMS)), OTHER_TERMS)


def _assign(names: Iterable[str], colours: tuple[str, ...]) -> dict[str, str]:
    return {name: colours[index % len(colours)] for index, name in enumerate(names)}


def plain(text: str) -> str:
    """Text that matplotlib draws as it stands, dollar signs included."""
    return text.replace("$", r"\$")


def shorten(text: str, limit: int = 14) -> str:
    """Text of at most ``limit`` characters, ready to be drawn.

    Example:
        >>> shorten("accordion player", 10)
        'accordion…'
    """
    return plain(text if len(text) <= limit else text[: limit - 1] + "…")


def panel(axes: Axes, title: str, *, x: str = "", y: str = "") -> None:
    """Dresses one panel: title at the left, two spines, a light grid, small ticks."""
    axes.set_title(plain(title), loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=SMALL, colors=MUTED, labelcolor=INK, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def legend_beside(axes: Axes) -> None:
    """A legend to the right of a panel, where it hides nothing."""
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.04),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.6,
    )


def legend_below(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    """A legend under all panels of a figure with constrained layout."""
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
    """A layout with air between the rows of a grid."""
    return ConstrainedLayoutEngine(hspace=0.05, wspace=0.04)


def two_a_row(count: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, two a row, each about ``height`` inches high."""
    rows, columns = math.ceil(count / 2), min(count, 2)
    figure = Figure(figsize=(WIDTH, height * rows + 0.4), layout=roomy())
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels[:count]


def data_uri(figure: Figure) -> str:
    """The figure as an SVG data URI; the same figure gives the same text."""
    buffer = io.BytesIO()
    # The salt names clip paths; without it every rendering draws random names.
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
