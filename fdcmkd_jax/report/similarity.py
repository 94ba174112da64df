"""How alike two models' features are, band by band, against pairs that should not be alike."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fdcmkd_jax.frequency import split_bands

BANDS = ("raw", "low with DC", "low without DC", "high")
"""Compared parts of a feature: all of it, the low band with bin 0 (DC) and without, the rest."""

PAIRINGS = ("true pairs", "mismatched pairs", "channels permuted")
"""Compared pairs: the same example, another example, the same with one side's channels shuffled."""


def cosine(
    first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]
) -> Float[np.ndarray, " N"]:
    """The cosine of the angle between rows.

    Args:
        first: Shape ``[N, D]``.
        second: Shape ``[N, D]``.

    Returns:
        Shape ``[N]``, in [-1, 1]; 0 where a row is zero.

    Example:
        >>> cosine(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[3.0, 4.0], [1.0, 0.0]])).tolist()
        [0.6, 0.0]
    """
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.sum(first * second, axis=-1) / np.where(norms > 0, norms, 1)


def bands(x: Float[np.ndarray, "N D"], *, cutoff: float) -> dict[str, Float[np.ndarray, "N D"]]:
    """The compared parts of features.

    Args:
        x: Shape ``[N, D]``, D at least 4.
        cutoff: Share of the DFT bins that is low, in (0, 1).

    Returns:
        One ``[N, D]`` array for each of `BANDS`.
    """
    features = jnp.asarray(x)
    low_with_dc = split_bands(features, cutoff=cutoff, keep_dc=True).low
    low, high = split_bands(features, cutoff=cutoff)
    parts = (features, low_with_dc, low, high)
    return {name: np.asarray(part) for name, part in zip(BANDS, parts, strict=True)}


def mismatch(count: int, *, seed: int = 0) -> Int[np.ndarray, " N"]:
    """A random permutation that leaves nothing in its place.

    Args:
        count: How many examples, N.
        seed: Same seed, same permutation.

    Returns:
        Shape ``[N]``: one cycle through all examples, so no entry equals its index if N > 1.
    """
    order = np.random.RandomState(seed).permutation(count)
    partner = np.empty(count, int)
    partner[order] = np.roll(order, 1)
    return partner


def band_similarity(
    first: Float[np.ndarray, "N D"],
    second: Float[np.ndarray, "N D"],
    *,
    cutoff: float = 0.5,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """The mean cosine of each band, for true pairs and for two kinds of broken pairs.

    Mismatched pairs keep what all examples of a model share, such as the mean feature. Permuting
    the channels keeps the values of every vector (so its mean, bin 0) and loses their order.

    Args:
        first: Shape ``[N, D]``, one model's features, row by row of the same examples as
        second: Shape ``[N, D]``, another model's features.
        cutoff: Share of the DFT bins that is low, in (0, 1).
        seed: Draws the mismatch and the channel permutation.

    Returns:
        ``{band: {pairing: mean cosine}}`` over `BANDS` and `PAIRINGS`, each in [-1, 1].

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"features must have one shape, got {first.shape} and {second.shape}.")
    count, width = second.shape
    channels = np.random.RandomState(seed).permutation(width)
    partners = (second, second[mismatch(count, seed=seed)], second[:, channels])
    own = bands(first, cutoff=cutoff)
    other = {
        pairing: bands(partner, cutoff=cutoff)
        for pairing, partner in zip(PAIRINGS, partners, strict=True)
    }
    return {
        band: {
            pairing: float(np.mean(cosine(own[band], other[pairing][band]))) for pairing in PAIRINGS
        }
        for band in BANDS
    }
