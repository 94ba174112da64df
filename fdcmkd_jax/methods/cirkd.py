"""CIRKD: relations between the pixels of different images."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from fdcmkd_jax import losses
from fdcmkd_jax.initializers import named_key, xavier_normal
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Terms, known_positions, resize
from fdcmkd_jax.methods.class_memory import draw_pixels, enqueue, normalize, region_means
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def cirkd(
    temperature: float = 0.1,
    pooling: int = 1,
    pixel_memory: int = 20000,
    region_memory: int = 2000,
    pixel_contrast: int = 4096,
    region_contrast: int = 1024,
    axis_name: str | None = None,
) -> Method:
    r"""Matches the similarities of pixels to pixels of the batch, and to a memory of the teacher's.

    .. math:: \ell = \mathrm{KL}(\sigma(t Q^\top / \tau) \,\Vert\, \sigma(s Q^\top / \tau))

    s and t are a pixel's normalized features. In ``pixel``, Q holds the pixels of one image of the
    batch, each model's own, for every ordered pair of images. In the terms of the memory, Q holds
    features of the teacher in this and earlier batches, and a projector (1x1 convolution,
    BatchNorm, ReLU, 1x1 convolution) maps the student's features first. The memory has a queue of
    pixels and one of regions (an image's mean over the pixels of a class) for each class, filled
    before it is read. The student's map is resized to the teacher's grid.

    Differences from the public code: pixels of a class are drawn from that class (there, from the
    image's first pixels), a full queue wraps around, pairs of images span all devices, and the mean
    over pixels is taken in each image first. Its further terms, of channels, are not included;
    `join` adds `kd` at temperature 1.

    Args:
        temperature: tau, positive.
        pooling: Side of the windows over which maps are averaged first; the public code takes 1,
            and 2 for large maps. The cost grows with the square of the number of positions.
        pixel_memory: Pixels kept for each class.
        region_memory: Regions kept for each class.
        pixel_contrast: Pixels of the memory compared at each step, about, over all classes.
        region_contrast: Regions of the memory, likewise.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        pixel: ``[N]``, of pairs of images. Weight in the public code: 1.
        memory_pixel: ``[N]``, of the queue of pixels; mean over the image's labeled pixels; 0.1.
        memory_region: ``[N]``, of the queue of regions, likewise; 0.1.

    Raises:
        ValueError: If a number is not positive; from ``init`` without a teacher.

    Source: arXiv 2204.06986; winycg/CIRKD.
    """
    sizes = (pooling, pixel_memory, region_memory, pixel_contrast, region_contrast)
    if min(sizes) < 1:
        raise ValueError(f"pooling, memories and contrasts must be positive, got {sizes}.")
    losses.check_temperature(temperature)
    options = _Options(
        temperature,
        pooling,
        {"pixel": pixel_memory, "region": region_memory},
        {"pixel": pixel_contrast, "region": region_contrast},
        axis_name,
    )
    return Method(
        init=functools.partial(_init, options),
        terms=functools.partial(_terms, options),
        names=("pixel", "memory_pixel", "memory_region"),
        label_terms=frozenset({"memory_pixel", "memory_region"}),
        dense=True,
    )


class _Options(NamedTuple):
    """Options of `cirkd` that its functions read."""

    temperature: float
    pooling: int
    memory: dict[str, int]
    contrast: dict[str, int]
    axis_name: str | None


def _init(
    options: _Options,
    key: Array,
    student: Outputs,
    teacher: Outputs | None,
    num_classes: int,
    train_targets: Targets | None = None,
) -> tuple[Params, Params]:
    """Draws the projector and fills the queues with random directions."""
    del train_targets
    if teacher is None:
        raise ValueError("cirkd needs a teacher's features.")
    width_in, width = student.features.shape[-1], teacher.features.shape[-1]
    projector = {
        "first": xavier_normal(named_key(key, "first"), (width_in, width), jnp.float32),
        "normalize": batch.init_normalize(width),
        "last": xavier_normal(named_key(key, "last"), (width, width), jnp.float32),
    }
    memory: dict[str, Any] = {
        kind: {
            "rows": normalize(
                jax.random.normal(named_key(key, kind), (num_classes, size, width), jnp.float32)
            ),
            "next": jnp.zeros(num_classes, jnp.int32),
        }
        for kind, size in options.memory.items()
    }
    memory["rng"] = jax.random.key_data(named_key(key, "draws"))
    memory["step"] = jnp.zeros((), jnp.int32)
    return {"projector": projector}, memory


def _terms(
    options: _Options,
    params: Params,
    memory: Params,
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
) -> tuple[Terms, Params]:
    axis_name = options.axis_name
    maps = resize(student.features, teacher.features), teacher.features
    s, t = (_pixels(features, options.pooling) for features in maps)
    labels, known = _labels(teacher.features, options.pooling, targets)
    key = jax.random.fold_in(jax.random.wrap_key_data(memory["rng"]), memory["step"])
    keys = {kind: jax.random.fold_in(key, n) for n, kind in enumerate(("pixel", "region", "rows"))}
    after = {**memory, "step": memory["step"] + 1}
    unit = jax.lax.stop_gradient(normalize(t))
    first = batch.first_row(len(labels), axis_name)
    pixels = draw_pixels(keys["rows"], unit, labels, known, targets.num_classes, first)
    for kind, (rows, present) in {
        "pixel": pixels,
        "region": region_means(unit, labels, known, targets.num_classes),
    }.items():
        new, added = (batch.gather(x, axis_name) for x in (rows, present))
        after[kind] = enqueue(memory[kind], new, added)
    terms = {"pixel": pair_divergence(s, t, targets.mask, options.temperature, axis_name)}
    projected = _project(params["projector"], s, targets.mask, axis_name)
    counts = jnp.maximum(jnp.sum(known, axis=1), 1)
    for kind, size in options.contrast.items():
        queue = after[kind]["rows"]
        contrast = _draw_contrast(keys[kind], queue, size)
        divergence = contrast_divergence(projected, t, contrast, options.temperature)
        terms[f"memory_{kind}"] = jnp.sum(jnp.where(known, divergence, 0), axis=1) / counts
    return terms, after


def pair_divergence(
    student: Float[Array, "N P C"],
    teacher: Float[Array, "N P D"],
    mask: Bool[Array, " N"],
    temperature: float,
    axis_name: str | None = None,
) -> Float[Array, " N"]:
    """Computes the divergence of the pixels' similarities within every ordered pair of images.

    Args:
        student: Shape ``[N, P, C]``, the pixels of each image.
        teacher: Shape ``[N, P, D]``.
        mask: Shape ``[N]``; images outside it are no partners.
        temperature: tau.
        axis_name: The mapped axis.

    Returns:
        Shape ``[N]``, the mean over an image's pixels and its partners, itself included.
    """
    partners = batch.gather(mask, axis_name)[None]

    def log_similarities(x: Array) -> Array:
        unit = normalize(x)
        others = batch.gather(unit, axis_name)
        return jax.nn.log_softmax(jnp.einsum("npc,gqc->ngpq", unit, others) / temperature)

    s, t = log_similarities(student), log_similarities(teacher)
    divergence = jnp.mean(jnp.sum(jnp.exp(t) * (t - s), axis=-1), axis=-1)
    return jnp.sum(jnp.where(partners, divergence, 0), axis=1) / jnp.maximum(jnp.sum(partners), 1)


def contrast_divergence(
    student: Float[Array, "N P C"],
    teacher: Float[Array, "N P C"],
    contrast: Float[Array, "R C"],
    temperature: float,
) -> Float[Array, "N P"]:
    """Computes the divergence of the pixels' similarities to the rows of a memory.

    Args:
        student: Shape ``[N, P, C]``; a pixel is normalized here.
        teacher: The same shape.
        contrast: Shape ``[R, C]``, used as they are.
        temperature: tau.

    Returns:
        Shape ``[N, P]``.
    """
    s, t = (
        jax.nn.log_softmax(normalize(x) @ contrast.T / temperature)
        for x in (student, jax.lax.stop_gradient(teacher))
    )
    return jnp.sum(jnp.exp(t) * (t - s), axis=-1)


def _pixels(features: Array, pooling: int) -> Float[Array, "N P C"]:
    """Pools maps and lists their positions; a vector is one position."""
    x = at_least_float32(features)
    if x.ndim == 4 and pooling > 1:
        window = (min(pooling, x.shape[1]), min(pooling, x.shape[2]))
        x = nn.avg_pool(x, window, strides=window)
    return x.reshape(len(x), -1, x.shape[-1])


def _labels(
    features: Array, pooling: int, targets: Targets
) -> tuple[Int[Array, "N P"], Bool[Array, "N P"]]:
    """Resizes labels to the features' positions, nearest; tells which are shown classes."""
    known = known_positions(targets)
    rows = (targets.mask & targets.labelled)[:, None]
    if targets.labels.ndim == 3:
        count, *size = targets.labels.shape
        pooled = [side // min(pooling, side) for side in features.shape[1:3]]
        # PyTorch's nearest neighbour: the floor of the scaled position.
        at = [jnp.arange(n) * full // n for n, full in zip(pooled, size, strict=True)]
        labels, known = (
            x[:, at[0]][:, :, at[1]].reshape(count, -1) for x in (targets.labels, known)
        )
        return labels, known & rows
    # One label for an example: all its positions have it.
    places = _pixels(features, pooling).shape[1]
    labels, known = (jnp.repeat(x[:, None], places, axis=1) for x in (targets.labels, known))
    return labels, known & rows


def _project(params: Params, x: Array, mask: Array, axis_name: str | None) -> Float[Array, "N P C"]:
    normalized = batch.normalize(params["normalize"], x @ params["first"], mask, axis_name)
    return jax.nn.relu(normalized) @ params["last"]


def _draw_contrast(key: Array, queue: Array, size: int) -> Array:
    """Draws the same places of each class's queue; ``size`` rows in all, about."""
    classes, places, width = queue.shape
    count = min(places, size // classes + 1)
    chosen = jax.random.permutation(key, places)[:count]
    return queue[:, chosen].reshape(-1, width)
