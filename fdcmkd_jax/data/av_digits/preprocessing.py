"""The preprocessing of AV-digits, from the constants of a training split."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fdcmkd_jax.data.av_digits import protocol
from fdcmkd_jax.data.base import Preprocessing


def constants(scale: protocol.Scale, modality: str) -> dict[str, Any]:
    """Returns the constants of a modality's preprocessing as plain data."""
    return {name: np.asarray(getattr(scale, name)).tolist() for name in _names(modality)}


def preprocessing(modality: str, constants: Mapping[str, Any]) -> Preprocessing:
    """Builds the preprocessing of a modality.

    Args:
        modality: ``"audio"`` or ``"image"``.
        constants: Plain data, as the function of that name returns them.

    Returns:
        A function of ``frames [N, 32, 13]`` and ``num_frames [N]``, or of ``image [N, 28, 28, 1]``.

    Raises:
        KeyError: If the modality is unknown, or a constant is missing.
    """
    inputs, function = _PARTS[modality]
    values: dict[str, Any] = dict.fromkeys(protocol.Scale._fields, 0.0)
    values |= {name: np.asarray(constants[name]) for name in _names(modality)}
    scale = protocol.Scale(**values)
    return Preprocessing(inputs, lambda raw: function(raw, scale), dict(constants))


def _names(modality: str) -> list[str]:
    """Returns the fields of `Scale` that a modality needs; those of images are named so."""
    return [name for name in protocol.Scale._fields if ("image" in name) == (modality == "image")]


_FRAMES = (protocol.NUM_FRAMES, protocol.NUM_COEFFICIENTS)
_IMAGE = (protocol.IMAGE_SIZE, protocol.IMAGE_SIZE, 1)

_PARTS: Mapping[
    str, tuple[Mapping[str, Any], Callable[[Mapping[str, Any], protocol.Scale], Any]]
] = {
    "audio": (
        {"frames": (_FRAMES, "float32"), "num_frames": ((), "int32")},
        lambda raw, scale: protocol.scale_clips(raw["frames"], raw["num_frames"], scale),
    ),
    "image": (
        {"image": (_IMAGE, "uint8")},
        lambda raw, scale: protocol.scale_image(raw["image"], scale),
    ),
}
