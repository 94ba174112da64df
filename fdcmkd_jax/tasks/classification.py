"""Classification: one class per example."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fdcmkd_jax import losses
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.tasks import metrics
from fdcmkd_jax.tasks.base import Task
from fdcmkd_jax.types import Outputs, at_least_float32, count_once

Primary = Literal["accuracy", "macro_f1", "weighted_f1"]

LABELS = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("weighted_f1", "weighted F1"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1", "F1"),
)
"""Names of the metrics on a page."""


def classification(
    *,
    num_classes: int,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] = (),
    primary: Primary = "accuracy",
) -> Task:
    """Makes the task of one class per example: cross-entropy, accuracy and F1.

    Smoothing and class weights change training alone, every loss against labels in it: those of a
    method's heads and of teachers trained in the same run included. Evaluation neither smooths nor
    weighs its loss.

    Args:
        num_classes: K, at least 2.
        label_smoothing: The share of each target that is spread over all classes; see
            `cross_entropy`.
        class_weights: The weight of each class, K positive numbers; empty for none. Examples count
            by the weight of their class, so a loss is sum(weight * value) / sum(weight), and the
            smoothed share of a class is weighed by that class, both as in PyTorch's
            ``cross_entropy``.
        primary: The metric that selects. ``macro_f1`` is the mean F1 of all K classes, those
            without test examples included (with F1 0); ``weighted_f1`` weighs each class by its
            number of examples.

    Raises:
        ValueError: If there are fewer than two classes, the smoothing is not in [0, 1), there is
            not one positive weight a class, or the primary metric is unknown.
    """
    if num_classes < 2:
        raise ValueError(f"classification needs at least 2 classes, got {num_classes}.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")
    check_choice("primary", primary, Primary)
    weights = _checked(class_weights, num_classes)
    return Task(
        num_classes=num_classes,
        loss=functools.partial(_loss, label_smoothing, weights),
        weigh=functools.partial(_weight, weights) if weights else count_once,
        progress=_progress,
        sums=_sums,
        examples=_examples,
        metrics=_metrics,
        by_class=_by_class,
        primary=primary,
        labels=LABELS,
    )


def _checked(class_weights: Sequence[float], num_classes: int) -> tuple[float, ...]:
    if not class_weights:
        return ()
    numbers = [w for w in class_weights if isinstance(w, (int, float)) and 0 < w < math.inf]
    if len(numbers) != len(class_weights) or len(numbers) != num_classes:
        raise ValueError(
            f"class_weights must hold one positive number for each of the {num_classes} classes, "
            f"or nothing; got {list(class_weights)}."
        )
    return tuple(float(weight) for weight in numbers)


def _loss(
    label_smoothing: float,
    class_weights: tuple[float, ...],
    logits: Float[Array, "N K"],
    labels: Int[Array, " N"],
) -> Float[Array, " N"]:
    """Computes the training loss, to be averaged by the weights of the examples."""
    if not (label_smoothing and class_weights):
        return losses.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    hard = losses.cross_entropy(logits, labels)
    weights = jnp.asarray(class_weights)
    log_shares = jax.nn.log_softmax(at_least_float32(logits))
    # The example's own weight is multiplied in with the mean.
    even = -jnp.mean(weights[None] * log_shares, axis=-1) / weights[labels]
    return (1 - label_smoothing) * hard + label_smoothing * even


def _weight(class_weights: tuple[float, ...], labels: Int[Array, " N"]) -> Float[Array, " N"]:
    return jnp.asarray(class_weights, jnp.float32)[labels]


def _progress(logits: Array, labels: Array, mask: Array) -> dict[str, metrics.SumCount]:
    return {"accuracy": metrics.masked_sum(metrics.correct(logits, labels), mask)}


def _sums(logits: Array, labels: Array, mask: Array) -> dict[str, Any]:
    return {
        "loss": metrics.masked_sum(losses.cross_entropy(logits, labels), mask),
        "confusion": metrics.confusion(logits, labels, mask),
    }


def _examples(outputs: Outputs, labels: Array, inputs: Any) -> dict[str, Array]:
    del inputs  # Report pages show features and predictions alone.
    return {
        "features": outputs.features,
        "predictions": jnp.argmax(outputs.logits, axis=-1).astype(jnp.int32),
        "labels": labels,
    }


def _metrics(totals: Mapping[str, Any]) -> dict[str, float]:
    confusion = totals["confusion"]
    _, _, f1 = metrics.precision_recall_f1(confusion)
    examples = confusion.sum(axis=1)
    return {
        "loss": metrics.mean(totals["loss"]),
        "accuracy": metrics.accuracy(confusion),
        "macro_f1": float(np.mean(f1)),
        "weighted_f1": metrics.mean((f1 @ examples, examples.sum())),
    }


def _by_class(totals: Mapping[str, Any]) -> dict[str, list[float]]:
    by_class = metrics.precision_recall_f1(totals["confusion"])
    return {
        name: values.tolist()
        for name, values in zip(("precision", "recall", "f1"), by_class, strict=True)
    }
