"""One view of a scene, with depth and a class for every pixel."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16


class Frame(NamedTuple):
    """A frame, as it is stored.

    Attributes:
        image: Shape ``[H, W, 3]``, RGB.
        depth: Shape ``[H, W]``, in the set's unit.
        labels: Shape ``[H, W]``, classes; 255 where there is none.
        hha: A PNG file of the depth's encoding in three channels; empty without one.
    """

    image: UInt8[np.ndarray, "H W 3"]
    depth: UInt16[np.ndarray, "H W"]
    labels: UInt8[np.ndarray, "H W"]
    hha: bytes = b""
