"""Statistics over seeds: confidence intervals, paired comparisons, corrections."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean with the half-width of its confidence interval."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.half_width:.1f}"


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Computes the mean of independent runs with Student's t interval.

    Args:
        values: One number per run, at least two.
        confidence: Coverage, in (0, 1).

    Returns:
        `Interval`; the mean plus and minus the half-width covers the true mean with probability
        ``confidence`` if the runs are independent and normal.

    Raises:
        ValueError: If there are fewer than two values.

    Examples:
        >>> str(t_interval([80.0, 82.0, 84.0]))
        '82.0 ± 5.0'
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two runs, got {len(values)}.")
    from scipy import stats  # Importing takes half a second, and only tables need it.

    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    quantile = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1))
    return Interval(float(np.mean(values)), quantile * spread)


class Comparison(NamedTuple):
    """A paired difference over seeds.

    Attributes:
        gain: Mean difference with its 95 % confidence interval.
        p: p value of the two-sided paired t test of no difference.
        p_equivalent: The larger p value of the two one-sided tests that the difference lies outside
            the margin; a small value means that the two settings are equivalent.
        seeds: Number of pairs.
    """

    gain: Interval
    p: float
    p_equivalent: float
    seeds: int


def compare(values: Sequence[float], reference: Sequence[float], *, margin: float) -> Comparison:
    """Compares runs with the runs of the same seeds under another setting.

    Args:
        values: One number per seed, at least two.
        reference: The numbers of the same seeds under the other setting.
        margin: Equivalence margin: smaller differences do not matter. In the unit of the values.

    Returns:
        `Comparison` of ``values - reference``.

    Raises:
        ValueError: If the lengths differ, there are fewer than two seeds, or the margin is not
            positive.

    Source: paired t test; two one-sided tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15).

    Examples:
        >>> comparison = compare([3.0, 4.0, 8.0], [1.0, 2.0, 3.0], margin=1.0)
        >>> str(comparison.gain), round(comparison.p, 3)
        ('3.0 ± 4.3', 0.095)
    """
    if len(values) != len(reference):
        raise ValueError(f"pairs need equal lengths, got {len(values)} and {len(reference)}.")
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}.")
    differences = np.subtract(values, reference)
    gain = t_interval(differences.tolist())
    above = _p_above(differences, -margin)
    below = _p_above(-differences, -margin)
    one_sided = min(_p_above(differences, 0.0), _p_above(-differences, 0.0))
    return Comparison(
        gain=gain,
        p=min(1.0, 2 * one_sided),
        p_equivalent=max(above, below),
        seeds=len(differences),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values by Holm's method, which controls the error rate of the family of tests.

    Args:
        p_values: One per test, in [0, 1].

    Returns:
        The adjusted p values in the same order; none is smaller than the original one.

    Source: Holm 1979, Scand. J. Statist. 6.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _p_above(differences: np.ndarray, bound: float) -> float:
    """Computes the p value of the one-sided t test against a mean of ``bound`` or less."""
    from scipy import stats  # Importing takes half a second, and only tables need it.

    distance = float(np.mean(differences)) - bound
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    if error == 0:  # All differences are equal: t is infinite, or 0 / 0 on the bound itself.
        return 0.5 if distance == 0 else float(distance < 0)
    return float(stats.t.sf(distance / error, len(differences) - 1))
