"""Sums that add up across batches and devices, and the metrics computed from them."""

from collections.abc import Mapping
from typing import Any, SupportsFloat

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
        labels: Shape ``[N, ...]``, class indices; positions with any other number are not counted.
        mask: Shape ``[N]``; rows outside it are not counted.

    Returns:
        Shape ``[K, K]``, int32 counts.
    """
    classes = logits.shape[-1]
    predicted = jnp.argmax(logits, axis=-1)
    counted = mask.astype(jnp.int32).reshape(-1, *[1] * (labels.ndim - 1))
    counts = jnp.zeros((classes, classes), jnp.int32)
    # Beyond the last row; a negative number would count from the end.
    rows = jnp.where(labels < 0, classes, labels)
    return counts.at[rows, predicted].add(jnp.broadcast_to(counted, labels.shape), mode="drop")


def add(totals: Mapping | None, sums: Mapping) -> Mapping:
    """Adds one batch's sums to the running totals, leaf by leaf; None starts them.

    Totals are float64 and int64, so that the number of batches costs no precision.
    """
    host = jax.tree.map(_widened, sums)
    return host if totals is None else jax.tree.map(np.add, totals, host)


def _widened(leaf: Any) -> np.ndarray:
    values = np.asarray(leaf)
    return values.astype(np.int64 if np.issubdtype(values.dtype, np.integer) else np.float64)


def mean(sum_count: tuple[SupportsFloat, SupportsFloat]) -> float:
    """Divides a sum by its count; NaN if nothing was counted."""
    total, count = float(sum_count[0]), float(sum_count[1])
    return total / count if count else float("nan")


def accuracy(confusion: Int[np.ndarray, "K K"]) -> float:
    """Computes the share of predictions that are right; NaN if nothing was counted.

    Args:
        confusion: Counts, rows the true class, columns the predicted class.
    """
    return mean((np.trace(confusion), np.sum(confusion)))


def precision_recall_f1(
    confusion: Int[np.ndarray, "K K"],
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Computes precision, recall and F1 of each class, one against the rest.

    Args:
        confusion: Counts, rows the true class, columns the predicted class.

    Returns:
        Three float64 arrays of shape ``[K]``. A class without predictions has precision 0, one
        without examples recall 0, as in scikit-learn with ``zero_division=0``.
    """
    hits = np.diag(confusion)
    examples, predictions = confusion.sum(axis=1), confusion.sum(axis=0)
    return (
        _ratio(hits, predictions),
        _ratio(hits, examples),
        _ratio(2 * hits, examples + predictions),
    )


def _ratio(
    numerator: Int[np.ndarray, " K"], denominator: Int[np.ndarray, " K"]
) -> Float[np.ndarray, " K"]:
    """Divides; 0 where the denominator is 0, which no numerator exceeds."""
    return numerator / np.maximum(denominator, 1)
