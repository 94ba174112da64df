"""Cutoffs: the share of a signal's frequencies that is low."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MIN_SIZE = 4
"""The shortest axis that can be split."""


class SoftCutoff(NamedTuple):
    r"""A cutoff without an edge, which gradients can move.

    .. math:: m(f) = \sigma(\mathrm{slope} \cdot (\mathrm{position} - f))

    is the share of frequency f in the low band; the rest is in the high band. The bands still add
    up, but they overlap: they are no longer orthogonal, and splitting is no longer idempotent.

    Attributes:
        position: The frequency that is shared equally, 0 to 1, where 1 is bin ``D//2``.
        slope: Slope of the share there, positive; the steeper, the nearer to an edge.
    """

    position: float | Float[Array, ""]
    slope: float | Float[Array, ""]

    def share(self, frequencies: np.ndarray) -> Float[Array, "*frequencies"]:
        """Computes the low band's share of each normalized frequency."""
        return jax.nn.sigmoid(self.slope * (self.position - jnp.asarray(frequencies)))


def check_cutoff(cutoff: float) -> None:
    """Raises ValueError unless the cutoff lies inside (0, 1)."""
    if not 0.0 < cutoff < 1.0:
        raise ValueError(f"cutoff must lie inside (0, 1), got {cutoff}.")


def band_bins(size: int, *, cutoff: float = 0.5) -> int:
    """Returns the highest DFT bin of the low band, ``floor(cutoff * (size // 2))``.

    Args:
        size: D, the length of the transformed axis; at least 4.
        cutoff: Share of the bins ``1..D//2`` that is low, in (0, 1).

    Returns:
        k: low is bins ``1..k``, high is bins ``k+1..D//2``.

    Raises:
        ValueError: If the size is below 4 or the cutoff is not inside (0, 1).

    Examples:
        >>> band_bins(512)
        128
    """
    check_size(size)
    check_cutoff(cutoff)
    # The nudge keeps decimal cutoffs exact: 0.29 * 100 is 28.999999999999996 in binary.
    return math.floor(cutoff * (size // 2) + 1e-9)


def band_rank(size: int, *, cutoff: float = 0.5) -> int:
    """Returns the dimension of the DFT's low band: two for each bin, a cosine and a sine.

    The low bands of the other bases, except ``"haar"``, have as many directions.

    Args:
        size: D, the length of the transformed axis; at least 4.
        cutoff: Share of the bins ``1..D//2`` that is low, in (0, 1).

    Returns:
        ``2 k`` with k from `band_bins`; the high band has the other ``D - 1 - 2 k`` dimensions.

    Raises:
        ValueError: If the size is below 4 or the cutoff is not inside (0, 1).

    Examples:
        >>> band_rank(512)
        256
    """
    # Bin D/2 of an even size is a cosine alone.
    return min(2 * band_bins(size, cutoff=cutoff), size - 1)


def check_size(size: int) -> int:
    """Returns the length of a transformed axis; raises ValueError if it is too short."""
    if size < MIN_SIZE:
        raise ValueError(f"a transformed axis needs at least {MIN_SIZE} entries, got {size}.")
    return size
