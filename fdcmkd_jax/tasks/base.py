"""The interface of a task: the meaning of labels, and the metrics of predictions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from fdcmkd_jax.tasks.metrics import SumCount
from fdcmkd_jax.types import Targets


class Task(NamedTuple):
    """The meaning of labels.

    Attributes:
        num_classes: K.
        loss: ``(logits, labels) -> [N]``, the training loss.
        sums: ``(logits, labels, mask) -> {name: (sum, count)}``, the metrics of an evaluation;
            always holds ``loss`` and ``accuracy``.
    """

    num_classes: int
    loss: Callable[[Array, Array], Array]
    sums: Callable[[Array, Array, Array], dict[str, SumCount]]

    def targets(
        self,
        labels: Int[Any, "N *positions"],
        *,
        labelled: Bool[Any, " N"] | None = None,
        mask: Bool[Any, " N"] | None = None,
        id: Shaped[Any, " N"] | None = None,
    ) -> Targets:
        """Makes the targets of a batch.

        Args:
            labels: Shape ``[N, ...]``, int32.
            labelled: Shape ``[N]``, false where the label is hidden from the student; all true by
                default.
            mask: Shape ``[N]``, false where the row is padding; all true by default.
            id: Shape ``[N]``, int32, ids of the examples; optional.
        """
        rows = labels.shape[:1]
        return Targets(
            labels=labels,
            labelled=jnp.ones(rows, bool) if labelled is None else labelled,
            mask=jnp.ones(rows, bool) if mask is None else mask,
            num_classes=self.num_classes,
            label_loss=self.loss,
            id=id,
        )
