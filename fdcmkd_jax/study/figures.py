"""Figures of a study: gains with intervals, every seed, the balance of the loss terms."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fdcmkd_jax.metrics import t_interval
from fdcmkd_jax.report import style
from fdcmkd_jax.study.analysis import LEVEL, Against, Analysis
from fdcmkd_jax.study.tables import title_of

BETTER, WORSE, OPEN = "#0072b2", "#d55e00", "#8a8a8a"
"""Of gains that are above zero, below, and neither, after correction."""

LABEL = 38
"""Most characters of an arm's label beside a panel."""


class Shares(NamedTuple):
    """How the weighted loss terms of an arm divide the whole, over n logged steps.

    Attributes:
        steps: ``[n]``.
        values: By term, ``[n]``: the share of the weighted total.
        gradients: By term, ``[n]``: the share of the summed gradient norms on the features.
    """

    steps: Float[np.ndarray, " n"]
    values: Mapping[str, Float[np.ndarray, " n"]]
    gradients: Mapping[str, Float[np.ndarray, " n"]]


def forest(analysis: Analysis) -> Figure:
    """The paired gain of each arm over the baseline with its interval, one panel a direction."""
    arms = [arm for arm in analysis.study.arms if arm != analysis.study.baseline]
    figure, panels = _side_by_side(analysis, arms)
    margin = analysis.study.margin
    for axes, direction in zip(panels, analysis.findings, strict=True):
        style.panel(axes, title_of(direction), x="gain in points")
        axes.axvspan(-margin, margin, color=style.GRID, alpha=0.6, linewidth=0)
        axes.axvline(0, color=style.MUTED, linewidth=0.9)
        for place, arm in enumerate(arms):
            found = analysis.findings[direction][arm].baseline
            if found is None:
                continue
            gain = found.comparison.gain
            axes.errorbar(
                gain.mean, place, xerr=gain.half_width, fmt="o", color=_colour(found),
                markersize=5, elinewidth=1.6, capsize=0,
            )  # fmt: skip
    return figure


def seeds(analysis: Analysis) -> Figure:
    """Every seed's test accuracy, a line joining one seed's arms, one panel a direction."""
    arms = list(analysis.study.arms)
    figure, panels = _side_by_side(analysis, arms)
    colours = style.CLASSES
    for axes, direction in zip(panels, analysis.findings, strict=True):
        style.panel(axes, title_of(direction), x="test accuracy (%)")
        found = analysis.findings[direction]
        for seed in range(analysis.study.seeds):
            places = [place for place, arm in enumerate(arms) if seed in found[arm].test]
            values = [found[arms[place]].test[seed] for place in places]
            colour = colours[seed % len(colours)]
            axes.plot(values, places, color=colour, linewidth=0.7, alpha=0.45)
            axes.plot(values, places, "o", color=colour, markersize=4, label=f"seed {seed}")
        for place, arm in enumerate(arms):
            values = list(found[arm].test.values())
            if len(values) > 1:
                mean = t_interval(values).mean
                axes.plot([mean, mean], [place - 0.3, place + 0.3], color=style.INK, linewidth=2)
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) <= len(colours):
        style.legend_below(figure, handles, labels)
    return figure


def balance(shares: Mapping[str, Shares]) -> Figure:
    """Each arm's division of the loss among its terms: values at the left, gradients right.

    Args:
        shares: By the arm's label, at least one.
    """
    figure = Figure(figsize=(style.WIDTH, 1.55 * len(shares) + 0.6), layout=style.roomy())
    grid = figure.subplots(len(shares), 2, squeeze=False, sharey=True)
    for (label, found), panels in zip(shares.items(), grid, strict=True):
        colours = style.term_colours(found.values)
        for axes, title, parts in (
            (panels[0], f"{label}: values", found.values),
            (panels[1], "gradient norms", found.gradients),
        ):
            style.panel(axes, style.shorten(title, 60))
            axes.grid(False)
            names = [term for term in colours if term in parts]
            axes.stackplot(
                found.steps,
                [100 * parts[term] for term in names],
                colors=[colours[term] for term in names],
                alpha=0.85,
                linewidth=0,
            )
            axes.set(ylim=(0, 100), yticks=(0, 50, 100))
            axes.margins(x=0)
        panels[0].set_ylabel("share (%)", fontsize=9, color=style.INK)
        panels[1].legend(
            [Patch(color=colour, alpha=0.85) for colour in reversed(colours.values())],
            [style.plain(term) for term in reversed(colours)],  # As they lie.
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=style.SMALL,
        )  # fmt: skip
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=9, color=style.INK)
    return figure


def _colour(against: Against) -> str:
    if against.p >= LEVEL:
        return OPEN
    return BETTER if against.comparison.gain.mean > 0 else WORSE


def _side_by_side(analysis: Analysis, arms: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """One panel a direction with the arms from top to bottom, labelled at the left only."""
    count = len(analysis.findings)
    figure = Figure(figsize=(style.WIDTH, 0.32 * len(arms) + 1.3), layout=style.roomy())
    panels = list(figure.subplots(1, count, squeeze=False, sharey=True).flat)
    labels = [style.shorten(analysis.study.arms[arm].label, LABEL) for arm in arms]
    panels[0].set_yticks(range(len(arms)), labels)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)  # The first at the top.
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    return figure, panels
