"""Metrics as (sum, count) pairs, which add up across batches and devices."""

from collections.abc import Mapping
from typing import SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

SumCount = tuple[Array, Array]
"""A masked sum and the count to divide it by once both are summed over batches and devices."""


def masked_sum(values: Float[Array, " N"], mask: Bool[Array, " N"]) -> SumCount:
    """Sums ``values`` where ``mask`` is true, and counts them.

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
    """Computes the share of each example's positions at which the largest logit is the label's.

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
    """Counts how often each class (row) was predicted as each class (column).

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


def mean(sum_count: tuple[SupportsFloat, SupportsFloat]) -> float:
    """Divides a sum by its count; NaN if nothing was counted."""
    total, count = float(sum_count[0]), float(sum_count[1])
    return total / count if count else float("nan")
