"""Figures of a study: gains with intervals, scores of every seed, shares of the loss terms."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fdcmkd_jax.report import style
from fdcmkd_jax.study.analysis import LEVEL, Analysis, ArmComparison
from fdcmkd_jax.study.shares import Shares
from fdcmkd_jax.study.statistics import t_interval
from fdcmkd_jax.study.tables import title_of

BETTER, WORSE, NEITHER = "#0072b2", "#d55e00", "#8a8a8a"
"""Colors of gains that are significantly above zero, below zero, and neither."""

LABEL = 38
"""Maximum number of characters of an arm's label beside a panel."""


def forest(analysis: Analysis) -> Figure:
    """Draws the paired gain of each arm over the baseline, one panel per direction."""
    arms = [arm for arm in analysis.study.arms if arm != analysis.study.baseline]
    figure, panels = _side_by_side(analysis, arms)
    margin = analysis.study.margin
    for axes, direction in zip(panels, analysis.results, strict=True):
        style.panel(axes, title_of(direction), x="gain in points")
        axes.axvspan(-margin, margin, color=style.GRID, alpha=0.6, linewidth=0)
        axes.axvline(0, color=style.MUTED, linewidth=0.9)
        for place, arm in enumerate(arms):
            over_baseline = analysis.results[direction][arm].over_baseline
            if over_baseline is None:
                continue
            gain = over_baseline.comparison.gain
            axes.errorbar(
                gain.mean, place, xerr=gain.half_width, fmt="o", color=_color(over_baseline),
                markersize=5, elinewidth=1.6, capsize=0,
            )  # fmt: skip
    return figure


def seeds(analysis: Analysis) -> Figure:
    """Draws the test score of every seed, one panel per direction; a line joins one seed."""
    arms = list(analysis.study.arms)
    figure, panels = _side_by_side(analysis, arms)
    for axes, direction in zip(panels, analysis.results, strict=True):
        style.panel(axes, title_of(direction), x=f"test {analysis.metric} (%)")
        results = analysis.results[direction]
        for seed in range(analysis.study.seeds):
            places = [place for place, arm in enumerate(arms) if seed in results[arm].test]
            values = [results[arms[place]].test[seed] for place in places]
            color = style.CLASSES[seed % len(style.CLASSES)]
            axes.plot(values, places, color=color, linewidth=0.7, alpha=0.45)
            axes.plot(values, places, "o", color=color, markersize=4, label=f"seed {seed}")
        for place, arm in enumerate(arms):
            values = list(results[arm].test.values())
            if len(values) > 1:
                mean = t_interval(values).mean
                axes.plot([mean, mean], [place - 0.3, place + 0.3], color=style.INK, linewidth=2)
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) <= len(style.CLASSES):
        style.legend_below(figure, handles, labels)
    return figure


def balance(by_label: Mapping[str, Shares]) -> Figure:
    """Draws the shares of the loss terms, one row per arm: loss values left, gradients right.

    Args:
        by_label: Shares by the arm's label, at least one.
    """
    figure = Figure(figsize=(style.WIDTH, 1.55 * len(by_label) + 0.6), layout=style.roomy())
    grid = figure.subplots(len(by_label), 2, squeeze=False, sharey=True)
    for (label, shares), (left, right) in zip(by_label.items(), grid, strict=True):
        colors = style.term_colors(shares.values)
        title = "gradient norms"
        if shares.gradients and shares.not_measured:
            title += " of the measured terms"
        _stack(left, f"{label}: values", shares.steps, shares.values, colors)
        _stack(right, title, shares.steps, shares.gradients, colors)
        left.set_ylabel("share (%)", fontsize=9, color=style.INK)
        names = list(reversed(colors))  # In the order of the stacked areas, from the top.
        right.legend(
            [Patch(color=colors[term], alpha=0.85) for term in names],
            [_legend_label(term, shares) for term in names],
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=style.SMALL,
        )  # fmt: skip
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=9, color=style.INK)
    return figure


def _stack(
    axes: Axes,
    title: str,
    steps: Float[np.ndarray, " n"],
    parts: Mapping[str, Float[np.ndarray, " n"]],
    colors: Mapping[str, str],
) -> None:
    """Draws the parts of a whole as stacked areas; says "not measured" if there is no part."""
    style.panel(axes, style.shorten(title, 46))
    axes.grid(False)
    names = [term for term in colors if term in parts]
    if names:
        axes.stackplot(
            steps,
            [100 * parts[term] for term in names],
            colors=[colors[term] for term in names],
            alpha=0.85,
            linewidth=0,
        )
    else:
        axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
        axes.text(
            0.5, 0.5, "not measured", transform=axes.transAxes,
            ha="center", va="center", color=style.MUTED, fontsize=9,
        )  # fmt: skip
    axes.set(ylim=(0, 100), yticks=(0, 50, 100))
    axes.margins(x=0)


def _legend_label(term: str, shares: Shares) -> str:
    """Returns a term's name, with a remark if only its gradient norm is missing."""
    name = style.plain(term)
    if shares.gradients and term in shares.not_measured:
        return f"{name}\n(gradient not measured)"
    return name


def _color(arm: ArmComparison) -> str:
    if arm.p >= LEVEL:
        return NEITHER
    return BETTER if arm.comparison.gain.mean > 0 else WORSE


def _side_by_side(analysis: Analysis, arms: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Makes one panel per direction, with the arms from top to bottom, labeled at the left."""
    count = len(analysis.results)
    figure = Figure(figsize=(style.WIDTH, 0.32 * len(arms) + 1.3), layout=style.roomy())
    panels = list(figure.subplots(1, count, squeeze=False, sharey=True).flat)
    labels = [style.shorten(analysis.study.arms[arm].label, LABEL) for arm in arms]
    panels[0].set_yticks(range(len(arms)), labels)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)  # The first arm is at the top.
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    return figure, panels
