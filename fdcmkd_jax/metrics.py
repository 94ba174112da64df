"""(sum, count) pairs that add up across batches and devices; what is computed from them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Pair = tuple[Array, Array]
"""A masked sum and the count it is to be divided by, once both are global."""


def masked_sum(values: Float[Array, " N"], mask: Bool[Array, " N"]) -> Pair:
    """The sum of ``values`` where ``mask`` is true, and how many there are.

    Values outside the mask do not matter, not even NaN.

    Args:
        values: Shape ``[N]``.
        mask: Shape ``[N]``.

    Returns:
        ``(sum, count)``, both scalars of the dtype of ``values``.
    """
    return jnp.sum(jnp.where(mask, values, 0)), jnp.sum(mask).astype(values.dtype)


def correct(
    logits: Float[Array, "N *positions K"], labels: Int[Array, "N *positions"]
) -> Float[Array, " N"]:
    """The share of an example's positions whose largest logit is the label's.

    Args:
        logits: Shape ``[N, ..., K]``.
        labels: Shape ``[N, ...]``, class indices.

    Returns:
        Shape ``[N]``, in [0, 1]; ties go to the lowest class.
    """
    hits = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return jnp.mean(hits, axis=tuple(range(1, hits.ndim)))


def confusion(
    logits: Float[Array, "N *positions K"],
    labels: Int[Array, "N *positions"],
    mask: Bool[Array, " N"],
) -> Int[Array, "K K"]:
    """How often each class (row) was predicted as each class (column).

    Args:
        logits: Shape ``[N, ..., K]``.
        labels: Shape ``[N, ...]``, class indices.
        mask: Shape ``[N]``; rows outside it are not counted.

    Returns:
        Shape ``[K, K]``, int32 counts.
    """
    classes = logits.shape[-1]
    predicted = jnp.argmax(logits, axis=-1)
    counted = mask.astype(jnp.int32).reshape(-1, *[1] * (labels.ndim - 1))
    counts = jnp.zeros((classes, classes), jnp.int32)
    return counts.at[labels, predicted].add(jnp.broadcast_to(counted, labels.shape))


def add(totals: Mapping | None, sums: Mapping) -> Mapping:
    """Adds one batch's sums to the running totals, leaf by leaf; None starts them."""
    host = jax.tree.map(np.asarray, sums)
    return host if totals is None else jax.tree.map(np.add, totals, host)


def mean(pair: tuple[SupportsFloat, SupportsFloat]) -> float:
    """A pair's mean as a Python float; NaN if nothing was counted."""
    total, count = float(pair[0]), float(pair[1])
    return total / count if count else float("nan")


class Interval(NamedTuple):
    """A mean with the half-width of its confidence interval."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.half_width:.1f}"


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The mean of independent runs with Student's t interval.

    Args:
        values: One number per run, at least two.
        confidence: Coverage, in (0, 1).

    Returns:
        `Interval`; the mean plus and minus the half-width covers the true mean with ``confidence``
        if the runs are independent and normal.

    Raises:
        ValueError: If there are fewer than two values.

    Example:
        >>> str(t_interval([80.0, 82.0, 84.0]))
        '82.0 ± 5.0'
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two runs, got {len(values)}.")
    from scipy import stats  # Half a second to import, and only tables need it.

    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    quantile = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1))
    return Interval(float(np.mean(values)), quantile * spread)
