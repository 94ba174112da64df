"""What several seeds say of one arm against another: paired differences, tests, corrections."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fdcmkd_jax.metrics import Interval, t_interval


class Comparison(NamedTuple):
    """A paired difference over seeds.

    Attributes:
        gain: Mean difference with its 95 % interval.
        p: Of the two-sided paired t test that the difference is zero.
        p_equivalent: The larger of two one-sided tests that it lies outside the margin; small
            where the two are equivalent.
        seeds: How many pairs.
    """

    gain: Interval
    p: float
    p_equivalent: float
    seeds: int


def compare(values: Sequence[float], reference: Sequence[float], *, margin: float) -> Comparison:
    """Compares runs with the runs of the same seeds under another setting.

    Args:
        values: One number per seed, at least two.
        reference: The same seeds' numbers under the other setting.
        margin: Differences nearer to zero than this do not matter, in the unit of the values.

    Returns:
        `Comparison` of ``values - reference``.

    Raises:
        ValueError: If the lengths differ, there are fewer than two seeds, or the margin is not
            positive.

    Source: paired t test; two one-sided tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15).

    Example:
        >>> found = compare([3.0, 4.0, 8.0], [1.0, 2.0, 3.0], margin=1.0)
        >>> str(found.gain), round(found.p, 3)
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
    """Holm's adjusted p values: their level holds over the whole family of tests.

    Args:
        p_values: One per test, in [0, 1].

    Returns:
        The adjusted ones in the same order, none below its own p value.

    Source: Holm 1979, Scand. J. Statist. 6.

    Example:
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
    """The p value of the one-sided t test against a mean of ``bound`` or less."""
    from scipy import stats  # Half a second to import, and only tables need it.

    distance = float(np.mean(differences)) - bound
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    if error == 0:  # Equal in every seed; t is infinite, or 0 / 0 on the bound itself.
        return 0.5 if distance == 0 else float(distance < 0)
    return float(stats.t.sf(distance / error, len(differences) - 1))
