"""Figures of training logs: losses, scores, gradient norms."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdcmkd_jax.report import style
from fdcmkd_jax.report.run import Metrics, Model, lookup

POINTS = 300
"""Maximum number of points of a curve; longer logs are averaged, which keeps the page small."""


SPLITS = {"val": "validation", "test": "test"}
"""Names of the splits that may select a step."""


def series(
    rows: Sequence[Mapping[str, Any]], *keys: str
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Extracts a curve from logged rows.

    Args:
        rows: Rows of metrics.jsonl by rising step.
        keys: Nested keys of the value; rows without it are left out.

    Returns:
        Steps and values, each of shape ``[n]``. More than `POINTS` rows are averaged in groups.

    Examples:
        >>> steps, losses = series([{"step": 5, "loss": 0.5}, {"step": 9}], "loss")
        >>> steps.tolist(), losses.tolist()
        ([5.0], [0.5])
    """
    pairs = np.array([(row["step"], lookup(row, *keys)) for row in rows]).reshape(-1, 2)
    pairs = pairs[~np.isnan(pairs[:, 1])]
    if len(pairs) > POINTS:
        pairs = np.array([group.mean(axis=0) for group in np.array_split(pairs, POINTS)])
    return pairs[:, 0], pairs[:, 1]


def learning_curves(
    model: Model, alone: Model | None, metrics: Metrics, colors: style.Palette
) -> Figure:
    """Draws losses at the left and the primary metric at the right.

    Args:
        model: A model with training or validation rows.
        alone: For a student, the model of its modality trained without a teacher.
        metrics: The metrics of the run.
        colors: Colors of terms and models.
    """
    figure = Figure(figsize=(style.WIDTH, 2.7))
    # Fixed positions instead of a layout engine align the panels of all models on the page.
    _draw_losses(figure.add_axes((0.065, 0.19, 0.31, 0.66)), model, colors)
    _draw_scores(figure.add_axes((0.565, 0.19, 0.27, 0.66)), model, alone, metrics, colors)
    return figure


def _draw_losses(axes: Axes, model: Model, colors: style.Palette) -> None:
    style.panel(axes, model.label, x="step", y="loss")
    axes.plot(*series(model.train, "loss"), color="#c0c0c0", linewidth=3.5, label="weighted total")
    _draw_terms(axes, model, "terms", colors)
    held_out = series(model.held_out, "loss")
    label = SPLITS[model.select_split]
    axes.plot(*held_out, color=style.MUTED, linewidth=1.3, linestyle=":", label=label)
    _log_if_positive(axes)
    style.legend_beside(axes)


def _draw_scores(
    axes: Axes, model: Model, alone: Model | None, metrics: Metrics, colors: style.Palette
) -> None:
    style.panel(axes, metrics.label, x="step", y="%")

    def draw(rows: Sequence[Mapping[str, Any]], of: Model, **line: Any) -> None:
        steps, values = series(rows, metrics.primary)
        if len(steps):  # Training rows may not have the metric.
            axes.plot(steps, 100 * values, color=colors.models[of.label], **line)

    draw(model.train, model, linewidth=1, alpha=0.35, label="train")
    if alone is not None and alone.held_out:
        draw(alone.held_out, alone, linewidth=1.3, linestyle="--", label="trained alone")
    draw(model.held_out, model, linewidth=1.8, label=SPLITS[model.select_split])
    axes.plot(
        model.value("selected_step"),
        100 * model.value(model.select_split, metrics.primary),
        "*",
        color=colors.models[model.label],
        markersize=12,
        markeredgecolor="white",
        label=f"selected step {model.value('selected_step'):,.0f}",
    )
    style.legend_beside(axes)


def balanced(models: Iterable[Model]) -> list[Model]:
    """Selects the models that logged gradient norms of at least two terms."""
    return [model for model in models if len(_logged(model, "gradient_norms")) > 1]


def not_measured(model: Model, weights: Mapping[str, float]) -> list[str]:
    """Lists the weighted terms whose values a model logged without their gradient norms.

    Gradient norms of terms that read feature maps are not measured.

    Args:
        model: A model.
        weights: The loss weights of the students, by term.
    """
    missing = _logged(model, "terms") - _logged(model, "gradient_norms")
    return sorted(term for term in missing if weights.get(term, 0) > 0)


def gradient_balance(models: Sequence[Model], colors: style.Palette) -> Figure:
    """Draws the gradient norm on the features by term, one panel per model.

    Args:
        models: From `balanced`, at least one.
        colors: Colors of terms and models.
    """
    figure, panels = style.two_a_row(len(models), height=2.7)
    for axes, model in zip(panels, models, strict=True):
        style.panel(axes, model.label, x="step", y="gradient norm")
        _draw_terms(axes, model, "gradient_norms", colors)
        _log_if_positive(axes)
    lines = {str(line.get_label()): line for axes in panels for line in axes.lines}
    style.legend_below(figure, list(lines.values()), list(lines))
    return figure


def _draw_terms(axes: Axes, model: Model, key: str, colors: style.Palette) -> None:
    for term in sorted(_logged(model, key), key=list(colors.terms).index):
        curve = series(model.train, key, term)
        axes.plot(*curve, color=colors.terms[term], linewidth=1.3, label=style.plain(term))


def _logged(model: Model, key: str) -> set[str]:
    return {term for row in model.train for term in row.get(key, {})}


def _log_if_positive(axes: Axes) -> None:
    drawn = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines])
    if drawn.size and np.all(drawn > 0):
        axes.set_yscale("log")
