"""Cosine similarity of two models' features by band, for true pairs and broken pairs."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fdcmkd_jax.frequency import split_bands

BANDS = ("raw", "low with DC", "low without DC", "high")
"""Parts of a feature that are compared: all bins, the low band with and without bin 0, the high."""

PAIRINGS = ("true pairs", "mismatched pairs", "channels permuted")
"""Compared pairs: the same example; another example; the same with one side's channels permuted."""


def cosine(
    first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]
) -> Float[np.ndarray, " N"]:
    """Computes the cosine of the angle between corresponding rows.

    Args:
        first: Shape ``[N, D]``.
        second: Shape ``[N, D]``.

    Returns:
        Shape ``[N]``, in [-1, 1]; 0 where a row is zero.

    Examples:
        >>> cosine(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[3.0, 4.0], [1.0, 0.0]])).tolist()
        [0.6, 0.0]
    """
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.sum(first * second, axis=-1) / np.where(norms > 0, norms, 1)


def bands(x: Float[np.ndarray, "N D"], *, cutoff: float) -> dict[str, Float[np.ndarray, "N D"]]:
    """Splits features into the compared parts.

    Args:
        x: Shape ``[N, D]``, D at least 4.
        cutoff: Share of the DFT bins in the low band, in (0, 1).

    Returns:
        One ``[N, D]`` array for each of `BANDS`.
    """
    features = jnp.asarray(x)
    low_with_dc = split_bands(features, cutoff=cutoff, keep_dc=True).low
    low, high = split_bands(features, cutoff=cutoff)
    parts = (features, low_with_dc, low, high)
    return {name: np.asarray(part) for name, part in zip(BANDS, parts, strict=True)}


def mismatch(count: int, *, seed: int = 0) -> Int[np.ndarray, " N"]:
    """Draws a random permutation without fixed points.

    Args:
        count: Number of examples, N.
        seed: Random seed.

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
    """Computes the mean cosine of each band for true pairs and two kinds of broken pairs.

    Mismatched pairs keep what all examples of a model share, such as the mean feature. Permuting
    the channels keeps the values of every vector (and so its mean, bin 0) but not their order.

    Args:
        first: Shape ``[N, D]``, features of one model.
        second: Shape ``[N, D]``, features of another model for the same examples.
        cutoff: Share of the DFT bins in the low band, in (0, 1).
        seed: Random seed of the mismatch and the channel permutation.

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
    first_bands = bands(first, cutoff=cutoff)
    second_bands = {
        pairing: bands(partner, cutoff=cutoff)
        for pairing, partner in zip(PAIRINGS, partners, strict=True)
    }
    return {
        band: {
            pairing: float(np.mean(cosine(first_bands[band], second_bands[pairing][band])))
            for pairing in PAIRINGS
        }
        for band in BANDS
    }
