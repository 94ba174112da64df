"""What labels mean: from a batch to the targets a method and a metric can use."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array

from fdcmkd_jax import losses, metrics
from fdcmkd_jax.tables import build_once
from fdcmkd_jax.types import Batch, Targets


class Task(NamedTuple):
    """A task's meaning of labels.

    Attributes:
        num_classes: K.
        loss: ``(logits, labels) -> [N]``, what training lowers.
        sums: ``(logits, labels, mask) -> {name: (sum, count)}``, what evaluation adds up; always
            holds ``loss`` and ``accuracy``.
    """

    num_classes: int
    loss: Callable[[Array, Array], Array]
    sums: Callable[[Array, Array, Array], dict[str, metrics.Pair]]

    def targets(self, batch: Batch) -> Targets:
        """What a batch says about itself, in this task's terms."""
        return Targets(
            labels=batch["label"],
            labelled=batch["labelled"],
            mask=batch["mask"],
            num_classes=self.num_classes,
            label_loss=self.loss,
            id=batch.get("id"),
        )


def classification(*, num_classes: int, label_smoothing: float = 0.0) -> Task:
    """One class per example: cross-entropy, accuracy.

    Args:
        num_classes: K, at least 2.
        label_smoothing: Of every training loss against labels, a method's heads' and that of
            teachers trained in the same run too; see `cross_entropy`. Evaluation does not smooth.

    Raises:
        ValueError: If there are fewer than two classes, or the smoothing is not in [0, 1).
    """
    if num_classes < 2:
        raise ValueError(f"classification needs at least 2 classes, got {num_classes}.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")

    def sums(logits: Array, labels: Array, mask: Array) -> dict[str, metrics.Pair]:
        return {
            "loss": metrics.masked_sum(losses.cross_entropy(logits, labels), mask),
            "accuracy": metrics.masked_sum(metrics.correct(logits, labels), mask),
        }

    loss = functools.partial(losses.cross_entropy, label_smoothing=label_smoothing)
    return Task(num_classes=num_classes, loss=loss, sums=sums)


TABLE: Mapping[str, Callable[..., Task]] = {"classification": classification}


def make(name: str, *, num_classes: int, **options: Any) -> Task:
    """The task listed under ``name``.

    Raises:
        ConfigError: If the name or an option is unknown, or a value is refused.
    """
    return build_once("task", TABLE, name, options, num_classes=num_classes)
