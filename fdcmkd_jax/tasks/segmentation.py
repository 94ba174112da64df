"""Segmentation: a class for every pixel."""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fdcmkd_jax import losses
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.tasks import metrics
from fdcmkd_jax.tasks.base import Task
from fdcmkd_jax.types import Outputs

Primary = Literal["mean_iou", "pixel_accuracy"]

LABELS = (("mean_iou", "mIoU"), ("pixel_accuracy", "pixel accuracy"), ("iou", "IoU"))
"""Names of the metrics on a page."""

STORED_PIXELS = 120 * 160
"""Largest number of pixels of a stored map of classes."""

PICTURE_PIXELS = 60 * 80
"""Largest number of pixels of a stored picture."""

REGION_SHARE = 1 / 50
"""Least share of an image's labelled positions that makes a class a region of it."""


def segmentation(*, num_classes: int, primary: Primary = "mean_iou") -> Task:
    """Makes the task of one class per pixel: cross-entropy, mIoU and pixel accuracy.

    Labels outside ``0..K-1`` (255, say) are ignored: they count in no loss and no metric. A loss is
    the mean over the pixels of the whole batch that count, on all devices; an image without any
    does not count. The mIoU comes from one confusion matrix over the split. It is the mean over the
    classes that are labelled or predicted somewhere; among the IoUs by class, the others have 0.

    Of each test image are stored: the maps of its labels and predictions, thinned to at most
    `STORED_PIXELS`; the input, shrunk to at most `PICTURE_PIXELS`; and one region, the mean of the
    features over the positions of one class, the rarest that covers `REGION_SHARE` of the labelled
    ones.

    Args:
        num_classes: K, 2 to 255.
        primary: The metric that selects.

    Raises:
        ValueError: If a value is out of range or unknown.

    Source: the metrics of VainF/DeepLabV3Plus-Pytorch.
    """
    if not 2 <= num_classes <= 255:
        raise ValueError(f"segmentation needs 2 to 255 classes, got {num_classes}.")
    check_choice("primary", primary, Primary)
    return Task(
        num_classes=num_classes,
        loss=_loss,
        weigh=functools.partial(_weight, num_classes),
        progress=_progress,
        sums=_sums,
        examples=_examples,
        metrics=_metrics,
        by_class=lambda totals: {"iou": _iou(totals["confusion"])[0].tolist()},
        primary=primary,
        labels=LABELS,
    )


def _counts(labels: Int[Array, "N H W"], num_classes: int) -> Bool[Array, "N H W"]:
    return (labels >= 0) & (labels < num_classes)


def _loss(logits: Float[Array, "N H W K"], labels: Int[Array, "N H W"]) -> Float[Array, " N"]:
    return losses.cross_entropy(logits, labels, where=_counts(labels, logits.shape[-1]))


def _weight(num_classes: int, labels: Int[Array, "N H W"]) -> Float[Array, " N"]:
    return jnp.sum(_counts(labels, num_classes), axis=(1, 2)).astype(jnp.float32)


def _progress(logits: Array, labels: Array, mask: Array) -> dict[str, metrics.SumCount]:
    counted = _counts(labels, logits.shape[-1]) & mask[:, None, None]
    hits = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return {"pixel_accuracy": metrics.masked_sum(hits.ravel(), counted.ravel())}


def _sums(logits: Array, labels: Array, mask: Array) -> dict[str, Any]:
    weights = jnp.where(mask, _weight(logits.shape[-1], labels), 0)
    return {
        "loss": (jnp.sum(weights * jnp.where(mask, _loss(logits, labels), 0)), jnp.sum(weights)),
        "confusion": metrics.confusion(logits, labels, mask),
    }


def _metrics(totals: Mapping[str, Any]) -> dict[str, float]:
    iou, present = _iou(totals["confusion"])
    return {
        "loss": metrics.mean(totals["loss"]),
        "mean_iou": metrics.mean((iou.sum(), present.sum())),
        "pixel_accuracy": metrics.accuracy(totals["confusion"]),
    }


def _iou(
    confusion: Int[np.ndarray, "K K"],
) -> tuple[Float[np.ndarray, " K"], Bool[np.ndarray, " K"]]:
    """Computes the intersection over union of each class, and whether it is present at all."""
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return hits / np.maximum(union, 1), union > 0


def _examples(outputs: Outputs, labels: Int[Array, "N H W"], inputs: Any) -> dict[str, Array]:
    predictions = jnp.argmax(outputs.logits, axis=-1)
    step = _step(labels.shape[1:], STORED_PIXELS)
    thinned = {
        "label_map": labels[:, ::step, ::step],
        "predicted_map": predictions[:, ::step, ::step],
    }
    features, chosen = _region(outputs, labels)
    return {
        "features": features,
        "labels": chosen,
        **{name: jnp.where(x < 0, 255, x).astype(jnp.uint8) for name, x in thinned.items()},
        **_picture(inputs, labels),
    }


def _step(sides: tuple[int, ...], limit: int) -> int:
    """Returns the least step at which a grid has at most ``limit`` points."""
    step = 1
    while np.prod([-(-side // step) for side in sides]) > limit:
        step += 1
    return step


def _picture(inputs: Any, labels: Int[Array, "N H W"]) -> dict[str, Array]:
    """Shrinks the input to ``[N, h, w, C]`` uint8; empty if it is no picture of the labels' size.

    Each picture's values are stretched to 0 to 255, except those of uint8.
    """
    for raw in jax.tree.leaves(inputs):
        x = raw[..., None] if raw.ndim == 3 else raw
        if x.shape[:3] != labels.shape or x.shape[-1] not in (1, 3):
            continue
        step = _step(labels.shape[1:], PICTURE_PIXELS)
        sides = labels[0, ::step, ::step].shape
        x = x.astype(jnp.float32)
        if raw.dtype != jnp.uint8:
            low, high = (f(x, axis=(1, 2, 3), keepdims=True) for f in (jnp.min, jnp.max))
            x = 255 * (x - low) / jnp.where(high > low, high - low, 1)
        small = jax.image.resize(x, (x.shape[0], *sides, x.shape[-1]), "linear")
        return {"picture": jnp.round(small).clip(0, 255).astype(jnp.uint8)}
    return {}


def _region(
    outputs: Outputs, labels: Int[Array, "N H W"]
) -> tuple[Float[Array, "N C"], Int[Array, " N"]]:
    """Averages the features over the positions of one class of each image.

    Returns:
        The means, and the classes. An image without labelled positions has a mean of 0.
    """
    num_classes, features = outputs.logits.shape[-1], outputs.features
    at = [
        jnp.arange(count) * side // count
        for count, side in zip(features.shape[1:3], labels.shape[1:], strict=True)
    ]
    labels = labels[:, at[0]][:, :, at[1]]
    members = jax.nn.one_hot(jnp.where(labels < 0, num_classes, labels), num_classes)
    sizes = jnp.sum(members, axis=(1, 2))
    least = REGION_SHARE * jnp.sum(sizes, axis=1, keepdims=True)
    chosen = jnp.argmin(jnp.where((sizes >= least) & (sizes > 0), sizes, jnp.inf), axis=1)
    inside = jnp.take_along_axis(members, chosen[:, None, None, None], axis=-1)
    total = jnp.sum(inside * features, axis=(1, 2))
    return total / jnp.maximum(jnp.sum(inside, axis=(1, 2)), 1), chosen.astype(jnp.int32)
