r"""Splits features into a low and a high band.

A feature vector of D numbers is transformed by the DFT along its feature axis; bins ``1..k`` are
the low band, bins ``k+1..D//2`` the high band. The mean (bin 0) is in neither band by default.

Other bases split the same mean-free vectors, to test how much of the method depends on the DFT, or
on frequency at all. In every basis ``high = x - mean - low``.

Source: arXiv 2511.19887, the DFT split and its masks; bin numbers as in its public code (D = 512:
low 1..128, high 129..256). The other bases are ours.
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fdcmkd_jax.bases import low_of_vectors
from fdcmkd_jax.cutoff import (
    MIN_SIZE,
    SoftCutoff,
    band_bins,
    band_rank,
    check_cutoff,
    check_size,
)
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.types import at_least_float32

Basis = Literal["dft", "dct", "haar", "random"]


class Bands(NamedTuple):
    """The two bands of a signal, each of the signal's shape and dtype."""

    low: Float[Array, "*shape"]
    high: Float[Array, "*shape"]


def split_bands(
    x: Float[Array, "*shape"],
    *,
    cutoff: float | SoftCutoff = 0.5,
    axes: Sequence[int] = (-1,),
    keep_dc: bool = False,
    basis: Basis | Float[Array, "D rank"] = "dft",
    basis_seed: int = 0,
) -> Bands:
    r"""Splits a signal into its low and its high band along ``axes``.

    Over several axes a coefficient is low if ``max over axes of |bin| / (size // 2) <= cutoff``:
    the low band is a centered box of the spectrum, negative frequencies included.

    .. math:: x_{low} = \mathrm{IDFT}(\mathrm{DFT}(x) \odot M_{low})

    The high band is ``x`` minus its mean and its low band. By linearity this is the inverse
    transform of the complementary mask, so there is one forward and one inverse transform in all.

    The low band in each basis (the rest is high, and the mean is in neither band):

    - ``"dft"``: bins ``1..k``, k from `band_bins`. The paper's.
    - ``"dct"``: coefficients ``1..band_rank`` of the orthonormal DCT-II. Coefficient j has
      ``j / 2`` periods over D, so the frequencies are the DFT's, without its periodic boundary.
    - ``"haar"``: all levels of the orthonormal Haar wavelet but the finest j, where level l spans
      the frequencies from ``2**-l`` to ``2**(1 - l)`` and j is the least with ``2**-j <= cutoff``
      (1/2: the finest is high; 1/4 and 1/3: the two finest). It has rank ``D / 2**j - 1``, at
      cutoff 1/2 one less than the DFT's.
    - ``"random"``: ``band_rank`` random orthonormal directions, without any order of frequency: the
      control for whether frequency matters.
    - an array ``[D, R]``, ``R < D``: the span of its columns minus their means; the cutoff is
      ignored. Gradients flow into it, so the split can be learned.

    Args:
        x: Any shape, floating. Each transformed axis has at least 4 entries.
        cutoff: Share of the bins that is low, in (0, 1); or a `SoftCutoff`, for the DFT and DCT.
        axes: The transformed axes. ``(-1,)`` for vectors ``[N, D]``, sequences ``[N, T, D]`` and
            maps ``[N, H, W, C]`` by channel; ``(1, 2)`` for maps over space, by the DFT alone.
        keep_dc: Put the mean (bin 0) into the low band; then ``low + high == x``. Otherwise the
            mean is in neither band.
        basis: A basis from the list above.
        basis_seed: Seed of the basis ``"random"``; the others ignore it.

    Returns:
        `Bands` of the shape and dtype of ``x``, computed in at least float32.

    Raises:
        ValueError: If ``axes`` is empty, repeats an axis or names one that ``x`` lacks, an axis is
            shorter than 4, the cutoff is not inside (0, 1), the basis is unknown or does not go
            with several axes, this size or a soft cutoff.

    Source: arXiv 2511.19887 (the split); its public code drops bin 0 from both bands.

    Examples:
        >>> x = jnp.cos(2 * jnp.pi * jnp.arange(8) / 8)  # one period: bin 1, which is low
        >>> bands = split_bands(x)
        >>> [float(jnp.linalg.norm(band).round(3)) for band in bands]
        [2.0, 0.0]
    """
    axes = normalize_axes(axes, x.ndim)
    if isinstance(basis, str):
        check_choice("basis", basis, Basis)
    wide = at_least_float32(x)
    mean = jnp.mean(wide, axis=axes, keepdims=True)
    centered = wide - mean
    if isinstance(basis, str) and basis == "dft":
        low = _dft_low(centered, axes, cutoff)
    elif len(axes) > 1:
        raise ValueError(f"only the basis 'dft' splits over several axes, got axes {axes}.")
    else:
        vectors = jnp.moveaxis(centered, axes[0], -1)
        low = jnp.moveaxis(low_of_vectors(vectors, cutoff, basis, basis_seed), -1, axes[0])
    high = centered - low
    if keep_dc:
        low = low + mean
    return Bands(low.astype(x.dtype), high.astype(x.dtype))


def normalize_axes(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Returns axes as sorted non-negative numbers.

    Raises:
        ValueError: If there is none, one repeats, or one is outside ``[-ndim, ndim)``.
    """
    axes = tuple(axes)
    if not axes or any(not -ndim <= axis < ndim for axis in axes):
        raise ValueError(f"axes must name axes of a rank-{ndim} array, got {axes}.")
    positive = tuple(sorted(axis % ndim for axis in axes))
    if len(set(positive)) != len(positive):
        raise ValueError(f"axes must not repeat, got {axes} for a rank-{ndim} array.")
    return positive


def _dft_low(
    centered: Float[Array, "*shape"], axes: tuple[int, ...], cutoff: float | SoftCutoff
) -> Float[Array, "*shape"]:
    sizes = [centered.shape[axis] for axis in axes]
    mask = _low_mask(sizes, cutoff)
    # rfftn halves the last of the given axes, so the mask is laid out in that order too.
    spectrum = jnp.fft.rfftn(centered, axes=axes) * _expand(mask, axes, centered.ndim)
    return jnp.fft.irfftn(spectrum, s=sizes, axes=axes)


def _low_mask(sizes: Sequence[int], cutoff: float | SoftCutoff) -> np.ndarray | Array:
    """Returns the low share of each coefficient of a real transform, whose last axis is halved.

    For a cutoff that is a number, the share is a boolean, and bin 0 is left out.
    """
    bins = [np.minimum(np.arange(size), size - np.arange(size)) for size in sizes]
    bins[-1] = np.arange(sizes[-1] // 2 + 1)
    if isinstance(cutoff, SoftCutoff):
        frequencies = [
            axis_bins / (check_size(size) // 2) for axis_bins, size in zip(bins, sizes, strict=True)
        ]
        return cutoff.share(functools.reduce(np.maximum.outer, frequencies))
    low = [
        axis_bins <= band_bins(size, cutoff=cutoff)
        for axis_bins, size in zip(bins, sizes, strict=True)
    ]
    inside = functools.reduce(np.logical_and.outer, low)
    inside[(0,) * len(sizes)] = False
    return inside


def _expand(mask: np.ndarray | Array, axes: Sequence[int], ndim: int) -> np.ndarray | Array:
    """Reshapes the mask to rank ``ndim``, with length 1 along the other axes."""
    shape = [1] * ndim
    for axis, length in zip(axes, mask.shape, strict=True):
        shape[axis] = length
    return mask.reshape(shape)


__all__ = [
    "MIN_SIZE",
    "Bands",
    "Basis",
    "SoftCutoff",
    "band_bins",
    "band_rank",
    "check_cutoff",
    "normalize_axes",
    "split_bands",
]
