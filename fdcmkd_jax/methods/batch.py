"""Statistics and partners over the whole batch, on any number of devices, without padding.

A device holds N rows of a batch; G is the number of rows on all devices. Every function takes the
mask ``[N]`` of the rows that are not padding, and the mapped axis (None on one device). Gradients
are correct as long as losses are summed over devices: the transpose of a gather is a sum of
scattered parts.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from fdcmkd_jax.collectives import is_alone, psum
from fdcmkd_jax.types import Params

EPSILON = 1e-5
"""Constant added to the variance in a BatchNorm."""


def gather(x: Shaped[Array, "N *rest"], axis_name: str | None) -> Shaped[Array, "G *rest"]:
    """Concatenates the rows of all devices, in the order of the devices."""
    return x if is_alone(axis_name) else lax.all_gather(x, axis_name, tiled=True)


def total(
    x: Float[Array, "N *rest"], mask: Bool[Array, " N"], axis_name: str | None
) -> Float[Array, "*rest"]:
    """Sums all rows that are not padding, whatever values the padding holds."""
    rows = mask.reshape(-1, *[1] * (x.ndim - 1))
    return psum(jnp.sum(jnp.where(rows, x, 0), axis=0), axis_name)


def count(mask: Bool[Array, " N"], axis_name: str | None) -> Float[Array, ""]:
    """Counts the rows that are not padding; at least 1, because the count is a divisor."""
    return jnp.maximum(total(mask.astype(jnp.float32), mask, axis_name), 1)


def moments(
    x: Float[Array, "N *positions C"], mask: Bool[Array, " N"], axis_name: str | None
) -> tuple[Float[Array, "*one C"], Float[Array, "*one C"], Float[Array, ""]]:
    """Computes the mean and biased variance of each channel over rows and positions.

    Args:
        x: Shape ``[N, ..., C]``.
        mask: Shape ``[N]``.
        axis_name: The mapped axis.

    Returns:
        Mean and variance, each ``[1, ..., 1, C]``, and the number of values per channel.
    """
    rows = count(mask, axis_name)
    positions = tuple(range(1, x.ndim - 1))

    def average(y: Array) -> Array:
        within = jnp.mean(y, axis=positions, keepdims=True)
        return total(within, mask, axis_name)[None] / rows

    mean = average(x)
    return mean, average(jnp.square(x - mean)), rows * math.prod(x.shape[1:-1])


def init_normalize(size: int) -> dict[str, Array]:
    """Makes the parameters of a BatchNorm: scales of one and shifts of zero, ``[C]`` each."""
    return {"scale": jnp.ones(size), "bias": jnp.zeros(size)}


def normalize(
    params: Params,
    x: Float[Array, "N *positions C"],
    mask: Bool[Array, " N"],
    axis_name: str | None,
) -> Float[Array, "N *positions C"]:
    """Applies a BatchNorm with the statistics of the batch, for layers that exist in training only.

    Args:
        params: From `init_normalize`.
        x: Shape ``[N, ..., C]``.
        mask: Shape ``[N]``.
        axis_name: The mapped axis.

    Returns:
        The shape of ``x``.

    Source: arXiv 1502.03167.
    """
    mean, variance, _ = moments(x, mask, axis_name)
    scale, bias = (jnp.expand_dims(params[name], range(x.ndim - 1)) for name in ("scale", "bias"))
    return (x - mean) * lax.rsqrt(variance + EPSILON) * scale + bias


def first_row(size: int, axis_name: str | None) -> Int[Array, ""]:
    """Returns the number of this device's first row among the gathered ones, of ``size`` each."""
    return jnp.int32(0) if is_alone(axis_name) else lax.axis_index(axis_name) * size


def is_same_row(mask: Bool[Array, " N"], axis_name: str | None) -> Bool[Array, "N G"]:
    """Marks, for each row of this device, the gathered row that is the same example."""
    size = len(mask)
    columns = jnp.arange(len(gather(mask, axis_name)))
    return first_row(size, axis_name) + jnp.arange(size)[:, None] == columns[None, :]


def partners(mask: Bool[Array, " N"], axis_name: str | None) -> Bool[Array, "N G"]:
    """Marks the gathered rows that each row is compared with: not padding, and not itself."""
    return gather(mask, axis_name)[None, :] & ~is_same_row(mask, axis_name)
