"""Shares of the loss terms in the loss and in its gradient."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fdcmkd_jax.config import Direction
from fdcmkd_jax.study.analysis import Analysis
from fdcmkd_jax.study.spec import Cell
from fdcmkd_jax.training.log import read_json, read_rows

POINTS = 200
"""Maximum number of steps of a curve; longer logs are averaged in groups."""


class Shares(NamedTuple):
    """Shares of the weighted loss terms of an arm, over n logged steps.

    Attributes:
        steps: Shape ``[n]``.
        values: By term, shape ``[n]``: share of the weighted total loss.
        gradients: By term, shape ``[n]``: share of the summed gradient norms on the features. Terms
            that read feature maps are absent, because their gradient norms are not measured; empty
            if fewer than two terms are measured.
    """

    steps: Float[np.ndarray, " n"]
    values: Mapping[str, Float[np.ndarray, " n"]]
    gradients: Mapping[str, Float[np.ndarray, " n"]]

    @property
    def not_measured(self) -> list[str]:
        """The terms without gradient shares."""
        return [term for term in self.values if term not in self.gradients]


def loss_shares(analysis: Analysis, workdir: Path) -> dict[str, Shares]:
    """Computes the shares of each arm that has several weighted loss terms.

    Args:
        analysis: The study's numbers.
        workdir: The study's folder.

    Returns:
        By the arm's label: shares averaged over seeds and directions.
    """
    by_label = {}
    for name, arm in analysis.study.arms.items():
        shares = _arm_shares(analysis, name, workdir)
        if shares is not None:
            by_label[arm.label] = shares
    return by_label


def _arm_shares(analysis: Analysis, arm: str, workdir: Path) -> Shares | None:
    """Computes the shares of one arm; None if it has logged fewer than two weighted terms."""
    rows: list[Mapping[str, Any]] = []
    weights: Mapping[str, float] = {}
    for seed, scores in analysis.scores[arm].items():
        folder = workdir / Cell(arm, seed, analysis.rates[arm]).folder
        weights = read_json(folder / "config.json")["weights"]
        weights = {term: weight for term, weight in weights.items() if weight > 0}
        for direction in scores:
            path = folder / Direction.parse(direction).folder / "metrics.jsonl"
            rows += [row for row in read_rows(path) if row["split"] == "train"]
    if len(weights) < 2 or not rows:
        return None
    measured = [term for term in weights if all(term in row["gradient_norms"] for row in rows)]
    values, gradients = [], []
    for row in rows:
        values.append(_divide({term: weights[term] * row["terms"][term] for term in weights}))
        gradients.append(_divide({term: row["gradient_norms"][term] for term in measured}))
    steps = [row["step"] for row in rows]
    return Shares(
        _thin(np.array(sorted(set(steps)), float)),
        {term: _mean_by_step(steps, (row[term] for row in values)) for term in weights},
        {term: _mean_by_step(steps, (row[term] for row in gradients)) for term in measured}
        if len(measured) > 1
        else {},
    )


def _divide(parts: Mapping[str, float]) -> dict[str, float]:
    """Divides parts by their sum; a NaN (no example counted in this window) becomes 0."""
    known = {term: 0.0 if math.isnan(part) else part for term, part in parts.items()}
    total = sum(known.values())
    return {term: part / total if total else 0.0 for term, part in known.items()}


def _mean_by_step(steps: Iterable[int], values: Iterable[float]) -> Float[np.ndarray, " n"]:
    """Averages the values of each step and returns them by rising step."""
    by_step: dict[int, list[float]] = {}
    for step, value in zip(steps, values, strict=True):
        by_step.setdefault(step, []).append(value)
    return _thin(np.array([np.nanmean(by_step[step]) for step in sorted(by_step)]))


def _thin(curve: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Averages a curve in groups if it has more than `POINTS` points."""
    if len(curve) <= POINTS:
        return curve
    return np.array([group.mean() for group in np.array_split(curve, POINTS)])
