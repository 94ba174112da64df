r"""Features to low and high band.

A feature vector of D numbers is transformed by the DFT along its feature axis; bins ``1..k`` are
the low band, bins ``k+1..D//2`` the high band. The mean (bin 0) is in neither, unless asked for.

Source: arXiv 2511.19887, the DFT split and its masks; bin numbers as in its public code (D = 512:
low 1..128, high 129..256).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fdcmkd_jax.types import at_least_float32

MIN_SIZE = 4


class Bands(NamedTuple):
    """A signal's two bands, each of the signal's own shape and dtype."""

    low: Float[Array, "*shape"]
    high: Float[Array, "*shape"]


def band_bins(size: int, *, cutoff: float = 0.5) -> int:
    """The highest DFT bin of the low band: ``floor(cutoff * (size // 2))``.

    Args:
        size: D, the length of the transformed axis; at least 4.
        cutoff: Share of the bins ``1..D//2`` that is low, in (0, 1).

    Returns:
        k: low is bins ``1..k``, high is bins ``k+1..D//2``.

    Raises:
        ValueError: If the size is below 4 or the cutoff is not inside (0, 1).

    Example:
        >>> band_bins(512)
        128
    """
    if size < MIN_SIZE:
        raise ValueError(f"a transformed axis needs at least {MIN_SIZE} entries, got {size}.")
    if not 0.0 < cutoff < 1.0:
        raise ValueError(f"cutoff must lie inside (0, 1), got {cutoff}.")
    # The nudge keeps decimal cutoffs exact: 0.29 * 100 is 28.999999999999996 in binary.
    return math.floor(cutoff * (size // 2) + 1e-9)


def split_bands(
    x: Float[Array, "*shape"],
    *,
    cutoff: float = 0.5,
    axes: Sequence[int] = (-1,),
    keep_dc: bool = False,
) -> Bands:
    r"""Splits a signal into its low and its high band along ``axes``.

    Over several axes a coefficient is low if ``max over axes of |bin| / (size // 2) <= cutoff``:
    the low band is a centred box of the spectrum, negative frequencies included.

    .. math:: x_{low} = \mathrm{IDFT}(\mathrm{DFT}(x) \odot M_{low})

    The high band is what is left of ``x`` after its mean and its low band, which is the inverse
    transform of the complementary mask by linearity: one forward and one inverse transform in all.

    Args:
        x: Any shape, floating. Each transformed axis has at least 4 entries.
        cutoff: Share of the bins that is low, in (0, 1).
        axes: The transformed axes. ``(-1,)`` for vectors ``[N, D]``, sequences ``[N, T, D]`` and
            maps ``[N, H, W, C]`` by channel; ``(1, 2)`` for maps over space.
        keep_dc: Put the mean (bin 0) into the low band; then ``low + high == x``. Otherwise the
            mean is in neither band.

    Returns:
        `Bands` of the shape and dtype of ``x``, computed in at least float32.

    Raises:
        ValueError: If ``axes`` is empty, repeats an axis or names one that ``x`` lacks, an axis is
            shorter than 4, or the cutoff is not inside (0, 1).

    Source: arXiv 2511.19887 (the split); its public code drops bin 0 from both bands.

    Example:
        >>> x = jnp.cos(2 * jnp.pi * jnp.arange(8) / 8)  # one period: bin 1, which is low
        >>> bands = split_bands(x)
        >>> [float(jnp.linalg.norm(band).round(3)) for band in bands]
        [2.0, 0.0]
    """
    axes = normalize_axes(axes, x.ndim)
    wide = at_least_float32(x)
    mean = jnp.mean(wide, axis=axes, keepdims=True)
    centred = wide - mean
    sizes = [x.shape[axis] for axis in axes]
    mask = _low_mask(sizes, cutoff)
    # rfftn halves the last of the given axes, so the mask is laid out in that order too.
    spectrum = jnp.fft.rfftn(centred, axes=axes) * _expand(mask, axes, x.ndim)
    low = jnp.fft.irfftn(spectrum, s=sizes, axes=axes)
    high = centred - low
    if keep_dc:
        low = low + mean
    return Bands(low.astype(x.dtype), high.astype(x.dtype))


def normalize_axes(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Axes as sorted non-negative numbers.

    Raises:
        ValueError: If there is none, one repeats, or one is outside ``[-ndim, ndim)``.
    """
    found = tuple(axes)
    if not found or any(not -ndim <= axis < ndim for axis in found):
        raise ValueError(f"axes must name axes of a rank-{ndim} array, got {found}.")
    positive = tuple(sorted(axis % ndim for axis in found))
    if len(set(positive)) != len(positive):
        raise ValueError(f"axes must not repeat, got {found} for a rank-{ndim} array.")
    return positive


def _low_mask(sizes: Sequence[int], cutoff: float) -> np.ndarray:
    """Which coefficients of a real transform are low; the last axis is halved, bin 0 is False."""
    inside = np.ones((), bool)
    for position, size in enumerate(sizes):
        bins = np.arange(size // 2 + 1) if position == len(sizes) - 1 else np.arange(size)
        low = np.minimum(bins, size - bins) <= band_bins(size, cutoff=cutoff)
        inside = inside[..., None] & low
    inside[(0,) * len(sizes)] = False
    return inside


def _expand(mask: np.ndarray, axes: Sequence[int], ndim: int) -> np.ndarray:
    """The mask as a rank-``ndim`` array whose other axes have length 1."""
    shape = [1] * ndim
    for axis, length in zip(axes, mask.shape, strict=True):
        shape[axis] = length
    return mask.reshape(shape)
