"""The host's and the device's stage for pairs of a picture and a text."""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from fdcmkd_jax.data.base import Example, Preprocessing
from fdcmkd_jax.data.clips import frames
from fdcmkd_jax.data.clips.preprocessing import MEAN, STD
from fdcmkd_jax.data.text import Encode, of_grams, of_tokens
from fdcmkd_jax.registry import check_choice

MODALITIES = ("image", "text")

Augment = Literal["crop", "shift", "none"]


@dataclass(frozen=True)
class PairTransform:
    """Makes an example of a record with ``image`` (a file), ``text``, ``label`` and ``id``.

    The example holds ``image = {"pixels": uint8 [H, W, 3]}`` and ``text``, the arrays that
    ``encode`` makes.

    Attributes:
        encode: Makes arrays of a text.
        image_size: H and W, in pixels. Pictures are resized; their ratio is not kept.
        image_augment: Change of pictures in training: ``"crop"``, random resized crops and flips;
            ``"shift"``, flips and shifts by up to ``SHIFT`` of the side; ``"none"``.

    Raises:
        ValueError: If a value is out of range.
    """

    encode: Encode
    image_size: int = 224
    image_augment: Augment = "crop"

    def __post_init__(self) -> None:
        check_choice("image_augment", self.image_augment, Augment)
        if self.image_size < 1:
            raise ValueError(f"image_size must be positive, got {self.image_size}.")

    @property
    def augmented(self) -> tuple[str, ...]:
        """The modalities that differ from epoch to epoch."""
        return () if self.image_augment == "none" else ("image",)

    def __call__(
        self, record: Example, random: np.random.Generator | None, modalities: Collection[str]
    ) -> Example:
        """Makes the example; see `data.base.Transform`."""
        example: Example = {key: np.int32(record[key]) for key in ("label", "id")}
        if "image" in modalities:
            example["image"] = {"pixels": self._pixels(record["image"], random)}
        if "text" in modalities:
            example["text"] = self.encode(record["text"].decode())
        return example

    def _pixels(
        self, picture: bytes, random: np.random.Generator | None
    ) -> UInt8[np.ndarray, "H W 3"]:
        whole = _kept_small if self.image_size <= SMALL_SIDE else _whole
        if random is None or self.image_augment == "none":
            return whole(picture, self.image_size)
        flip = bool(random.integers(2))
        if self.image_augment == "shift":
            pixels = whole(picture, self.image_size)
            return shift(pixels[:, ::-1] if flip else pixels, random)
        crop = frames.random_crop(*frames.size_of(picture), random)
        box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        return frames.decode([picture], self.image_size, box, flip)[0]


def _whole(picture: bytes, size: int) -> UInt8[np.ndarray, "size size 3"]:
    return frames.decode([picture], size, crop=None, flip=False)[0]


SMALL_SIDE = 64
"""Side up to which decoded pictures are kept, of the last 4,096: at most 50 MB."""


@functools.lru_cache(maxsize=4096)
def _kept_small(picture: bytes, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Decodes a small picture, which takes longer than all else that is done with it."""
    pixels = _whole(picture, size)
    pixels.flags.writeable = False
    return pixels


SHIFT = 1 / 16
"""Largest shift, as a share of the side."""


def shift(
    pixels: UInt8[np.ndarray, "H W 3"], random: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Moves a picture at random; its border is repeated."""
    margin = max(1, round(SHIFT * len(pixels)))
    top, left = random.integers(0, 2 * margin + 1, size=2)
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    return padded[top : top + pixels.shape[0], left : left + pixels.shape[1]]


def of_image(size: int) -> Preprocessing:
    """Makes the preprocessing of ``pixels [N, H, W, 3]``, uint8: normalized as ImageNet's are."""
    return Preprocessing({"pixels": ((size, size, 3), "uint8")}, _normalized, {"size": size})


def preprocessing(modality: str, constants: Mapping[str, Any]) -> Preprocessing:
    """Rebuilds the preprocessing of a modality.

    Args:
        modality: ``"image"`` or ``"text"``.
        constants: Plain data, from a `Preprocessing` of this module or of `data.text`.

    Raises:
        KeyError: If the modality is unknown, or a constant is missing.
    """
    if modality == "image":
        return of_image(constants["size"])
    if modality != "text":
        raise KeyError(modality)
    if "length" in constants:
        return of_tokens(constants["length"])
    return of_grams(constants["size"])


def _normalized(raw: Mapping[str, Any]) -> Array:
    pixels = jnp.asarray(raw["pixels"]).astype(jnp.float32) / 255
    mean, std = (jnp.asarray(numbers).reshape(1, 1, 1, 3) for numbers in (MEAN, STD))
    return (pixels - mean) / std
