"""Bases other than the DFT that split mean-free vectors into a low and a high band.

They test how much of the method depends on the DFT, or on frequency at all; they are not part of
the paper.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fdcmkd_jax.cutoff import SoftCutoff, band_rank, check_cutoff, check_size
from fdcmkd_jax.types import at_least_float32


def low_of_vectors(
    x: Float[Array, "*lead D"],
    cutoff: float | SoftCutoff,
    basis: str | Float[Array, "D rank"],
    seed: int,
) -> Float[Array, "*lead D"]:
    """Computes the low band of mean-free vectors in any basis but the DFT's.

    Args:
        x: Shape ``[..., D]``, at least float32, of mean zero along D.
        cutoff: See `split_bands`.
        basis: See `split_bands`.
        seed: Seed of the basis ``"random"``.

    Returns:
        The shape of ``x``.

    Raises:
        ValueError: If the basis does not support this size or a soft cutoff.
    """
    size = check_size(x.shape[-1])
    if not isinstance(basis, str):
        return _project(x, _span(basis, size))
    if basis == "dct" and isinstance(cutoff, SoftCutoff):
        waves = _dct_waves(size)
        share = cutoff.share(np.arange(1, size) / (2 * (size // 2)))
        return _matmul(_matmul(x, waves) * jnp.expand_dims(share, range(x.ndim - 1)), waves.T)
    if isinstance(cutoff, SoftCutoff):
        raise ValueError(f"a soft cutoff needs the basis 'dft' or 'dct', got {basis!r}.")
    if basis == "haar":
        return _haar_low(x, cutoff)
    rank = band_rank(size, cutoff=cutoff)
    if basis == "dct":
        return _project(x, _dct_waves(size)[:, :rank])
    return _project(x, _random_directions(size, rank, seed))


def _dct_waves(size: int) -> np.ndarray:
    """Makes the orthonormal cosines ``1..D-1`` of the DCT-II, one per column."""
    angles = np.pi / size * np.outer(np.arange(size) + 0.5, np.arange(1, size))
    return np.sqrt(2 / size) * np.cos(angles)


@functools.lru_cache(maxsize=8)  # Half a second at D = 2048, and a step splits several times.
def _random_directions(size: int, rank: int, seed: int) -> np.ndarray:
    """Draws random orthonormal columns ``[D, rank]``, each of mean zero."""
    drawn = np.random.RandomState(seed).normal(size=(size, rank))
    return np.linalg.qr(drawn - np.mean(drawn, axis=0))[0]


def _span(directions: Float[Array, "D rank"], size: int) -> Float[Array, "D rank"]:
    """Makes orthonormal columns that span the directions minus their means."""
    if directions.ndim != 2 or directions.shape[0] != size or directions.shape[1] >= size:
        raise ValueError(
            f"directions must have shape [{size}, R] with R below {size}, got {directions.shape}."
        )
    wide = at_least_float32(directions)
    return jnp.linalg.qr(wide - jnp.mean(wide, axis=0, keepdims=True))[0]


def _haar_low(x: Float[Array, "*lead D"], cutoff: float) -> Float[Array, "*lead D"]:
    """Rebuilds the coarse levels: the mean of each block of ``2**j`` neighbors."""
    check_cutoff(cutoff)
    size = x.shape[-1]
    block = 2 ** max(1, math.ceil(-math.log2(cutoff) - 1e-9))
    if size % block:
        raise ValueError(
            f"the basis 'haar' at cutoff {cutoff} needs a size divisible by {block}, got {size}."
        )
    blocks = x.reshape(*x.shape[:-1], size // block, block)
    means = jnp.mean(blocks, axis=-1, keepdims=True)
    return jnp.broadcast_to(means, blocks.shape).reshape(x.shape)


def _project(x: Float[Array, "*lead D"], columns: np.ndarray | Array) -> Float[Array, "*lead D"]:
    """Projects orthogonally on the span of orthonormal columns."""
    return _matmul(_matmul(x, columns), columns.T)


def _matmul(x: Float[Array, "*lead D"], matrix: np.ndarray | Array) -> Float[Array, "*lead E"]:
    # Accelerators round the factors of a product to fewer bits by default; the projection would
    # then not be idempotent.
    return jnp.matmul(x, jnp.asarray(matrix, x.dtype), precision="highest")
