"""The interface of a task: the meaning of labels, and the metrics of predictions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from fdcmkd_jax.tasks.metrics import SumCount
from fdcmkd_jax.types import Outputs, Targets, count_once


# Compared and hashed by identity, as the programs that are compiled for a task are.
@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """The meaning of labels. Logits are ``[N, ..., K]``, labels ``[N, ...]`` and masks ``[N]``.

    Attributes:
        num_classes: K.
        loss: ``(logits, labels) -> [N]``, the training loss; finite whatever the labels.
        weigh: ``labels -> [N]``, float32, the weight of each example in the mean of every term that
            reads labels: the mean is sum(weight * value) / sum(weight). An example of weight 0 does
            not count. With dense labels, for instance, the number of positions that count, where
            ``loss`` is the mean over them.
        progress: ``(logits, labels, mask) -> {name: (sum, count)}``, logged beside the loss of a
            training step.
        sums: ``(logits, labels, mask) -> totals``, a tree of arrays that add up over batches and
            devices. Evaluation computes it for every head of a model.
        examples: ``(outputs, labels, inputs) -> {name: [N, ...]}``, stored for each test example;
            ``inputs`` is the tree of arrays that the model read. The report compares ``features
            [N, D]`` and colors them by ``labels [N]``, if both exist.
        metrics: ``totals -> {name: float}``, from sums in float64 and int64 on the host.
        by_class: ``totals -> {name: [K floats]}``, metrics of each class.
        primary: The metric that selects a checkpoint and a head; higher is better.
        labels: ``((metric, its name on a page), ...)`` of the metrics, and of those by class, that
            pages show. All are shares in [0, 1], which pages show in percent.
    """

    num_classes: int
    loss: Callable[[Array, Array], Array]
    weigh: Callable[[Array], Array] = count_once
    progress: Callable[[Array, Array, Array], dict[str, SumCount]]
    sums: Callable[[Array, Array, Array], dict[str, Any]]
    examples: Callable[[Outputs, Array, Any], dict[str, Array]]
    metrics: Callable[[Mapping[str, Any]], dict[str, float]]
    by_class: Callable[[Mapping[str, Any]], dict[str, list[float]]]
    primary: str
    labels: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """The name of the primary metric on a page."""
        return dict(self.labels)[self.primary]

    def describe_metrics(self) -> dict[str, Any]:
        """Returns ``{"primary", "labels"}``, which results carry for the pages that show them."""
        return {"primary": self.primary, "labels": dict(self.labels)}

    def details(self, totals: Mapping[str, Any]) -> dict[str, Any]:
        """Returns ``{"confusion", "by_class"}`` of a head, JSON-able.

        Args:
            totals: The head's totals; without ``confusion``, the result has none either.
        """
        confusion = totals.get("confusion")
        matrix = {} if confusion is None else {"confusion": np.asarray(confusion).tolist()}
        return {**matrix, "by_class": self.by_class(totals)}

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
            label_weight=self.weigh,
            id=id,
        )
