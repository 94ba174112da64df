"""Random changes to one modality of a training example, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from fdcmkd_jax.registry import build

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def shift(*, pixels: int) -> Augmentation:
    """Moves ``[H, W, C]`` by up to ``pixels`` along H and W; what leaves one side is lost.

    Args:
        pixels: Largest shift, positive. Uncovered positions become zero.

    Raises:
        ValueError: If ``pixels`` is not positive.
    """
    if pixels < 1:
        raise ValueError(f"pixels must be positive, got {pixels}.")

    def apply(
        x: Float[np.ndarray, "H W C"], random: np.random.Generator
    ) -> Float[np.ndarray, "H W C"]:
        top, left = random.integers(0, 2 * pixels + 1, size=2)
        padded = np.pad(x, ((pixels, pixels), (pixels, pixels), (0, 0)))
        return padded[top : top + x.shape[0], left : left + x.shape[1]]

    return apply


def mask_frames(*, max_frames: int) -> Augmentation:
    """Sets up to ``max_frames`` neighboring frames of ``[T, ...]`` to zero.

    Args:
        max_frames: Longest stretch, positive.

    Raises:
        ValueError: If ``max_frames`` is not positive.

    Source: arXiv 1904.08779 (time masking).
    """
    if max_frames < 1:
        raise ValueError(f"max_frames must be positive, got {max_frames}.")

    def apply(
        x: Float[np.ndarray, "T *rest"], random: np.random.Generator
    ) -> Float[np.ndarray, "T *rest"]:
        length = min(int(random.integers(0, max_frames + 1)), len(x))
        start = int(random.integers(0, len(x) - length + 1))
        masked = x.copy()
        masked[start : start + length] = 0
        return masked

    return apply


TABLE: Mapping[str, Callable[..., Augmentation]] = {"mask_frames": mask_frames, "shift": shift}


def make(name: str, **options: Any) -> Augmentation:
    """Makes the augmentation listed under ``name``, or at an import path.

    Raises:
        ConfigError: If the name or an option is unknown, or a value is refused.
    """
    return build("augmentation", TABLE, name, options)
