r"""Features to low and high band.

A feature vector of D numbers is transformed by the DFT along its feature axis; bins ``1..k`` are
the low band, bins ``k+1..D//2`` the high band. The mean (bin 0) is in neither, unless asked for.

Other bases split the same mean-free vectors otherwise, to ask what in the method is owed to the
DFT, or to frequency at all. Whatever the basis, ``high = x - mean - low``.

Source: arXiv 2511.19887, the DFT split and its masks; bin numbers as in its public code (D = 512:
low 1..128, high 129..256). The other bases are ours.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fdcmkd_jax.tables import check_choice
from fdcmkd_jax.types import at_least_float32

MIN_SIZE = 4

Basis = Literal["dft", "dct", "haar", "random"]


class Bands(NamedTuple):
    """A signal's two bands, each of the signal's own shape and dtype."""

    low: Float[Array, "*shape"]
    high: Float[Array, "*shape"]


class SoftCutoff(NamedTuple):
    r"""A cutoff without an edge, which gradients can move.

    .. math:: m(f) = \sigma(\mathrm{slope} \cdot (\mathrm{position} - f))

    is the share of frequency f that goes to the low band; the high band takes the rest. The bands
    still add up, but overlap: they are no longer orthogonal, nor is splitting idempotent.

    Attributes:
        position: The frequency that is shared equally, 0 to 1; 1 is that of bin ``D//2``.
        slope: How steeply the share falls there, positive; the steeper, the nearer to an edge.
    """

    position: float | Float[Array, ""]
    slope: float | Float[Array, ""]

    def share(self, frequencies: np.ndarray) -> Float[Array, "*frequencies"]:
        """The low band's share of each normalised frequency."""
        return jax.nn.sigmoid(self.slope * (self.position - jnp.asarray(frequencies)))


def check_cutoff(cutoff: float) -> None:
    """Raises ValueError unless the cutoff lies inside (0, 1)."""
    if not 0.0 < cutoff < 1.0:
        raise ValueError(f"cutoff must lie inside (0, 1), got {cutoff}.")


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
    _check_size(size)
    check_cutoff(cutoff)
    # The nudge keeps decimal cutoffs exact: 0.29 * 100 is 28.999999999999996 in binary.
    return math.floor(cutoff * (size // 2) + 1e-9)


def band_rank(size: int, *, cutoff: float = 0.5) -> int:
    """The dimension of the DFT's low band: two for each bin, a cosine and a sine.

    The other bases but ``"haar"`` take as many directions for theirs.

    Args:
        size: D, the length of the transformed axis; at least 4.
        cutoff: Share of the bins ``1..D//2`` that is low, in (0, 1).

    Returns:
        ``2 k`` with k from `band_bins`; the high band has the other ``D - 1 - 2 k`` dimensions.

    Raises:
        ValueError: If the size is below 4 or the cutoff is not inside (0, 1).

    Example:
        >>> band_rank(512)
        256
    """
    # Bin D/2 of an even size is a cosine alone.
    return min(2 * band_bins(size, cutoff=cutoff), size - 1)


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
    the low band is a centred box of the spectrum, negative frequencies included.

    .. math:: x_{low} = \mathrm{IDFT}(\mathrm{DFT}(x) \odot M_{low})

    The high band is what is left of ``x`` after its mean and its low band, which is the inverse
    transform of the complementary mask by linearity: one forward and one inverse transform in all.

    The low band in each basis; what is left is high, and the mean is in neither band:

    - ``"dft"``: bins ``1..k``, k from `band_bins`. The paper's.
    - ``"dct"``: coefficients ``1..band_rank`` of the orthonormal DCT-II. Coefficient j swings
      ``j / 2`` times over D, so the frequencies are the DFT's; a vector's ends are not joined.
    - ``"haar"``: all levels of the orthonormal Haar wavelet but the finest j, where level l spans
      the frequencies from ``2**-l`` to ``2**(1 - l)`` and j is the least with ``2**-j <= cutoff``
      (1/2: the finest is high; 1/4 and 1/3: the two finest). It has rank ``D / 2**j - 1``, at
      cutoff 1/2 one less than the DFT's.
    - ``"random"``: ``band_rank`` random orthonormal directions. Without any order of frequency, it
      is the control for whether frequency matters.
    - an array ``[D, R]``, ``R < D``: the span of its columns less their means; the cutoff is not
      read. Gradients flow into it, so the split can be learned.

    Args:
        x: Any shape, floating. Each transformed axis has at least 4 entries.
        cutoff: Share of the bins that is low, in (0, 1); or a `SoftCutoff`, for the DFT and DCT.
        axes: The transformed axes. ``(-1,)`` for vectors ``[N, D]``, sequences ``[N, T, D]`` and
            maps ``[N, H, W, C]`` by channel; ``(1, 2)`` for maps over space, by the DFT alone.
        keep_dc: Put the mean (bin 0) into the low band; then ``low + high == x``. Otherwise the
            mean is in neither band.
        basis: What divides the vectors, from the list above.
        basis_seed: Which split ``"random"`` draws; the others do not read it.

    Returns:
        `Bands` of the shape and dtype of ``x``, computed in at least float32.

    Raises:
        ValueError: If ``axes`` is empty, repeats an axis or names one that ``x`` lacks, an axis is
            shorter than 4, the cutoff is not inside (0, 1), the basis is unknown or does not go
            with several axes, this size or a soft cutoff.

    Source: arXiv 2511.19887 (the split); its public code drops bin 0 from both bands.

    Example:
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
    centred = wide - mean
    if isinstance(basis, str) and basis == "dft":
        low = _dft_low(centred, axes, cutoff)
    elif len(axes) > 1:
        raise ValueError(f"only the basis 'dft' splits over several axes, got axes {axes}.")
    else:
        vectors = jnp.moveaxis(centred, axes[0], -1)
        low = jnp.moveaxis(_low_of_vectors(vectors, cutoff, basis, basis_seed), -1, axes[0])
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


def _dft_low(
    centred: Float[Array, "*shape"], axes: tuple[int, ...], cutoff: float | SoftCutoff
) -> Float[Array, "*shape"]:
    sizes = [centred.shape[axis] for axis in axes]
    mask = _low_mask(sizes, cutoff)
    # rfftn halves the last of the given axes, so the mask is laid out in that order too.
    spectrum = jnp.fft.rfftn(centred, axes=axes) * _expand(mask, axes, centred.ndim)
    return jnp.fft.irfftn(spectrum, s=sizes, axes=axes)


def _low_mask(sizes: Sequence[int], cutoff: float | SoftCutoff) -> np.ndarray | Array:
    """The low share of each coefficient of a real transform, whose last axis is halved.

    A boolean for a number, which leaves bin 0 out.
    """
    bins = [np.minimum(np.arange(size), size - np.arange(size)) for size in sizes]
    bins[-1] = np.arange(sizes[-1] // 2 + 1)
    if isinstance(cutoff, SoftCutoff):
        frequencies = [
            each / (_check_size(size) // 2) for each, size in zip(bins, sizes, strict=True)
        ]
        return cutoff.share(functools.reduce(np.maximum.outer, frequencies))
    low = [each <= band_bins(size, cutoff=cutoff) for each, size in zip(bins, sizes, strict=True)]
    inside = functools.reduce(np.logical_and.outer, low)
    inside[(0,) * len(sizes)] = False
    return inside


def _expand(mask: np.ndarray | Array, axes: Sequence[int], ndim: int) -> np.ndarray | Array:
    """The mask as a rank-``ndim`` array whose other axes have length 1."""
    shape = [1] * ndim
    for axis, length in zip(axes, mask.shape, strict=True):
        shape[axis] = length
    return mask.reshape(shape)


def _low_of_vectors(
    x: Float[Array, "*lead D"],
    cutoff: float | SoftCutoff,
    basis: str | Float[Array, "D rank"],
    seed: int,
) -> Float[Array, "*lead D"]:
    """The low band of mean-free vectors in any basis but the DFT's."""
    size = _check_size(x.shape[-1])
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
    """The DCT-II's orthonormal cosines ``1..D-1``, a column each."""
    angles = np.pi / size * np.outer(np.arange(size) + 0.5, np.arange(1, size))
    return np.sqrt(2 / size) * np.cos(angles)


@functools.lru_cache(maxsize=8)  # Half a second at D = 2048, and a step splits several times.
def _random_directions(size: int, rank: int, seed: int) -> np.ndarray:
    """Random orthonormal columns ``[D, rank]``, each of mean zero."""
    drawn = np.random.RandomState(seed).normal(size=(size, rank))
    return np.linalg.qr(drawn - np.mean(drawn, axis=0))[0]


def _span(directions: Float[Array, "D rank"], size: int) -> Float[Array, "D rank"]:
    """Orthonormal columns that span the given ones less their means."""
    if directions.ndim != 2 or directions.shape[0] != size or directions.shape[1] >= size:
        raise ValueError(
            f"directions must have shape [{size}, R] with R below {size}, got {directions.shape}."
        )
    wide = at_least_float32(directions)
    return jnp.linalg.qr(wide - jnp.mean(wide, axis=0, keepdims=True))[0]


def _haar_low(x: Float[Array, "*lead D"], cutoff: float) -> Float[Array, "*lead D"]:
    """What the coarse levels rebuild: the mean of each block of ``2**j`` neighbours."""
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
    """The orthogonal projection on the span of orthonormal columns."""
    return _matmul(_matmul(x, columns), columns.T)


def _matmul(x: Float[Array, "*lead D"], matrix: np.ndarray | Array) -> Float[Array, "*lead E"]:
    # Accelerators round the factors of a product to fewer bits unless told otherwise, and a
    # projection that does not repeat itself is none.
    return jnp.matmul(x, jnp.asarray(matrix, x.dtype), precision="highest")


def _check_size(size: int) -> int:
    if size < MIN_SIZE:
        raise ValueError(f"a transformed axis needs at least {MIN_SIZE} entries, got {size}.")
    return size
