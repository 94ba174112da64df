"""Queues of features for each class, which outlive a batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fdcmkd_jax import losses
from fdcmkd_jax.types import Params

PIXELS_PER_CLASS = 16
"""Pixels of one class that an image adds at each step, at most; as in winycg/CIRKD."""


def draw_pixels(
    key: Array,
    pixels: Float[Array, "N P C"],
    labels: Int[Array, "N P"],
    known: Bool[Array, "N P"],
    num_classes: int,
    first: int | Int[Array, ""],
) -> tuple[Float[Array, "N K R C"], Bool[Array, "N K R"]]:
    """Draws up to `PIXELS_PER_CLASS` pixels of each class in each image.

    Args:
        key: A typed key.
        pixels: Shape ``[N, P, C]``.
        labels: Shape ``[N, P]``.
        known: Shape ``[N, P]``; other pixels are not drawn.
        num_classes: K.
        first: Number of the first image in the whole batch; the draw depends on the numbers.

    Returns:
        Pixels ``[N, K, R, C]``, and which of them were there.
    """

    def draw(x: Array, label: Array, row: Array) -> tuple[Array, Array]:
        order = jnp.lexsort((jax.random.uniform(jax.random.fold_in(key, row), label.shape), label))
        ends = jnp.searchsorted(label[order], jnp.arange(num_classes + 1))
        places = ends[:-1, None] + jnp.arange(PIXELS_PER_CLASS)[None]
        chosen = order[jnp.minimum(places, len(label) - 1)]
        return x[chosen], places < ends[1:, None]

    labels = jnp.where(known, labels, num_classes)
    return jax.vmap(draw)(pixels, labels, first + jnp.arange(len(labels)))


def region_means(
    pixels: Float[Array, "N P C"],
    labels: Int[Array, "N P"],
    known: Bool[Array, "N P"],
    num_classes: int,
) -> tuple[Float[Array, "N K 1 C"], Bool[Array, "N K 1"]]:
    """Averages the pixels of each class in each image, and normalizes the means.

    Returns:
        Regions ``[N, K, 1, C]``, and which of them were there.
    """
    members = jax.nn.one_hot(jnp.where(known, labels, num_classes), num_classes)
    means = normalize(jnp.einsum("npk,npc->nkc", members, pixels))
    return means[:, :, None], jnp.any(members > 0, axis=1)[:, :, None]


def enqueue(
    queue: Params, rows: Float[Array, "G K R C"], present: Bool[Array, "G K R"]
) -> dict[str, Array]:
    """Writes rows over the oldest of each class.

    Args:
        queue: ``rows [K, M, C]``, and for each class the place of the ``next`` one.
        rows: Shape ``[G, K, R, C]``, in the order in which they are written.
        present: Shape ``[G, K, R]``; the others are skipped.
    """
    memory, position = queue["rows"], queue["next"]
    classes, size, width = memory.shape
    rows = jnp.moveaxis(rows, 1, 0).reshape(classes, -1, width)
    present = jnp.moveaxis(present, 1, 0).reshape(classes, -1)
    order = jnp.cumsum(present, axis=1)
    count = order[:, -1:]
    # Of more new rows than the queue holds, the last ones stay; the others are sent outside.
    kept = present & (order > count - size)
    places = jnp.where(kept, (position[:, None] + order - 1) % size, size)
    written = memory.at[jnp.arange(classes)[:, None], places].set(rows, mode="drop")
    return {"rows": written, "next": (position + count[:, 0]) % size}


def normalize(x: Float[Array, "*lead C"]) -> Float[Array, "*lead C"]:
    """Divides vectors by their length."""
    return x / losses.norm(x)
