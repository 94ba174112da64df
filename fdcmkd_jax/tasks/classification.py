"""Classification: one class per example."""

import functools

from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.tasks import metrics
from fdcmkd_jax.tasks.base import Task


def classification(*, num_classes: int, label_smoothing: float = 0.0) -> Task:
    """Makes the task of one class per example: cross-entropy and accuracy.

    Args:
        num_classes: K, at least 2.
        label_smoothing: Smoothing of every training loss against labels, those of a method's heads
            and of teachers trained in the same run included; see `cross_entropy`. Evaluation does
            not smooth.

    Raises:
        ValueError: If there are fewer than two classes, or the smoothing is not in [0, 1).
    """
    if num_classes < 2:
        raise ValueError(f"classification needs at least 2 classes, got {num_classes}.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")

    def sums(logits: Array, labels: Array, mask: Array) -> dict[str, metrics.SumCount]:
        return {
            "loss": metrics.masked_sum(losses.cross_entropy(logits, labels), mask),
            "accuracy": metrics.masked_sum(metrics.correct(logits, labels), mask),
        }

    loss = functools.partial(losses.cross_entropy, label_smoothing=label_smoothing)
    return Task(num_classes=num_classes, loss=loss, sums=sums)
