"""The device's stage for clips: spectrograms of sound, normalized pictures."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax.data.base import Preprocessing
from fdcmkd_jax.data.clips.spectrogram import Spectrogram, log_spectrogram, mask_bands

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB values in [0, 1], as torchvision states them."""


def of_audio(spec: Spectrogram, dtype: str) -> Preprocessing:
    """Makes the preprocessing of ``waveform [N, S]`` to ``[N, F, T, 1]``.

    In training, ``time_masks`` and ``frequency_masks`` may lie beside the waveform; see
    `spectrogram.mask_bands`.

    Args:
        spec: The spectrogram.
        dtype: ``"int16"`` or ``"float32"``, of the waveform.
    """
    constants = {**dataclasses.asdict(spec), "dtype": dtype}
    return Preprocessing(
        {"waveform": ((spec.num_samples,), dtype)}, _audio_function(spec), constants
    )


def of_visual(size: int, num_frames: int) -> Preprocessing:
    """Makes the preprocessing of ``frames``, uint8, to float32 of the same shape.

    Args:
        size: H and W, in pixels.
        num_frames: F. The shape is ``[N, H, W, 3]`` for one frame, else ``[N, F, H, W, 3]``.
    """
    shape = (size, size, 3) if num_frames == 1 else (num_frames, size, size, 3)
    constants = {"size": size, "num_frames": num_frames}
    return Preprocessing({"frames": (shape, "uint8")}, _normalized, constants)


def preprocessing(modality: str, constants: Mapping[str, Any]) -> Preprocessing:
    """Rebuilds the preprocessing of a modality.

    Args:
        modality: ``"audio"`` or ``"visual"``.
        constants: Plain data, from a `Preprocessing` that this module made.

    Raises:
        KeyError: If the modality is unknown, or a constant is missing.
        TypeError: If a constant is unknown.
    """
    if modality == "visual":
        return of_visual(constants["size"], constants["num_frames"])
    if modality != "audio":
        raise KeyError(modality)
    options = dict(constants)
    dtype = options.pop("dtype")
    return of_audio(Spectrogram(**options), dtype)


# The same function for equal options: JAX finds a compiled program by the functions in it.
@functools.cache
def _audio_function(spec: Spectrogram) -> Callable[[Mapping[str, Any]], Array]:
    def function(raw: Mapping[str, Any]) -> Array:
        x = log_spectrogram(raw["waveform"], spec)
        if "time_masks" not in raw:
            return x
        return mask_bands(x, time_masks=raw["time_masks"], frequency_masks=raw["frequency_masks"])

    return function


def _normalized(raw: Mapping[str, Any]) -> Array:
    pixels = jnp.asarray(raw["frames"]).astype(jnp.float32) / 255
    mean, std = (jnp.asarray(x).reshape(*[1] * (pixels.ndim - 1), 3) for x in (MEAN, STD))
    return (pixels - mean) / std
