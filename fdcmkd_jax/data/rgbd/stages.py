"""The host's and the device's stage for frames: joint scale, crop and flip; normalized arrays."""

import functools
import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32
from PIL import Image

from fdcmkd_jax.data.base import Example, Preprocessing
from fdcmkd_jax.data.clips.preprocessing import MEAN, STD
from fdcmkd_jax.registry import check_choice

MODALITIES = ("depth", "image")
IGNORED = 255
"""The label of pixels that count nowhere."""

DepthInput = Literal["plain", "hha"]


class Window(NamedTuple):
    """A window of a scaled frame, and the place of its visible part in the crop.

    Attributes:
        box: Left, top, right and bottom of the visible part, in pixels of the frame.
        size: Height and width of the visible part after scaling.
        place: Top and left of the visible part in the crop; the rest of the crop is padding.
        flip: Exchange left and right.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    place: tuple[int, int]
    flip: bool


Scale = Callable[[Image.Image, Window], np.ndarray]
"""Makes the visible part of a window."""


def bilinear(image: Image.Image, window: Window) -> np.ndarray:
    """Scales a picture; smooths where it shrinks."""
    size = window.size[::-1]
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=window.box))


def nearest(image: Image.Image, window: Window) -> np.ndarray:
    """Selects the pixels below the centers of the scaled ones.

    Pillow's own selection differs between 8 and 16 bits by a pixel.
    """
    left, top, right, bottom = window.box
    rows, columns = (
        np.floor(start + (np.arange(count) + 0.5) * (end - start) / count).astype(int)
        for start, end, count in ((top, bottom, window.size[0]), (left, right, window.size[1]))
    )
    pixels = np.asarray(image)
    return pixels[rows.clip(0, len(pixels) - 1)][:, columns.clip(0, pixels.shape[1] - 1)]


@dataclass(frozen=True)
class FrameTransform:
    """Makes an example of a frame's record, changed at random in training.

    Scale, place and flip are the same for picture, depth and labels. Pictures are scaled
    bilinearly, depth and labels by the nearest pixel. Padding is black, of depth 0, and ignored.

    Attributes:
        crop: Height and width in training; evaluation reads whole frames. (0, 0) for no change.
        scales: The least and the largest factor of the scale in training.
        depth: The encoding of depth that models read.
        classes: The class of each stored one, where they differ; empty where they are the same.
        border: Pixels cut off: top, bottom, left and right.
    """

    crop: tuple[int, ...] = (0, 0)
    scales: tuple[float, ...] = (1.0, 1.0)
    depth: DepthInput = "plain"
    classes: tuple[int, ...] = ()
    border: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        check_choice("depth", self.depth, DepthInput)
        if len(self.scales) != 2 or not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(
                f"scales must be two positive numbers in rising order, got {self.scales}."
            )
        if len(self.crop) != 2 or min(self.crop) < 0 or bool(self.crop[0]) != bool(self.crop[1]):
            raise ValueError(f"crop must be two positive sides, or 0 and 0, got {self.crop}.")

    @property
    def augmented(self) -> tuple[str, ...]:
        """The modalities that differ from epoch to epoch."""
        return MODALITIES if self.crop[0] else ()

    def __call__(
        self, record: Example, random: np.random.Generator | None, modalities: Collection[str]
    ) -> Example:
        """Makes the example; see `data.base.Transform`.

        ``label`` is int32 ``[H, W]``, 255 where it is ignored.
        """
        labels = self._decode(record["labels"])
        window = None
        if random is not None and self.crop[0]:
            window = self._draw(labels.height, labels.width, random)
        example: Example = {
            "label": self._labels(self._cut(labels, window, nearest, IGNORED)),
            "id": np.int32(record["id"]),
        }
        if "image" in modalities:
            picture = self._decode(record["image"])
            example["image"] = {"pixels": self._cut(picture, window, bilinear, 0)}
        if "depth" in modalities and self.depth == "hha":
            picture = self._decode(record["hha"])
            example["depth"] = {"pixels": self._cut(picture, window, bilinear, 0)}
        elif "depth" in modalities:
            depth = self._decode(record["depth"])
            example["depth"] = {"depth": self._cut(depth, window, nearest, 0).astype(np.uint16)}
        return example

    def _decode(self, file: bytes) -> Image.Image:
        image = Image.open(io.BytesIO(file))
        top, bottom, left, right = self.border
        return image.crop((left, top, image.width - right, image.height - bottom))

    def _draw(self, height: int, width: int, random: np.random.Generator) -> Window:
        scale = random.uniform(self.scales[0], self.scales[1])
        flip = bool(random.integers(2))
        sides, starts, places, ends = [], [], [], []
        for side, crop in ((height, self.crop[0]), (width, self.crop[1])):
            scaled = max(1, round(scale * side))
            visible = min(scaled, crop)
            start = int(random.integers(0, scaled - visible + 1))
            sides.append(visible)
            starts.append(start * side / scaled)
            ends.append((start + visible) * side / scaled)
            places.append(int(random.integers(0, crop - visible + 1)))
        return Window(
            box=(starts[1], starts[0], ends[1], ends[0]),
            size=(sides[0], sides[1]),
            place=(places[0], places[1]),
            flip=flip,
        )

    def _cut(
        self, image: Image.Image, window: Window | None, scale: Scale, fill: int
    ) -> np.ndarray:
        if window is None:
            return np.asarray(image)
        part = scale(image, window)
        if window.flip:
            part = part[:, ::-1]
        result = np.full((*self.crop, *part.shape[2:]), fill, part.dtype)
        top, left = window.place
        result[top : top + window.size[0], left : left + window.size[1]] = part
        return result

    def _labels(self, stored: np.ndarray) -> Int32[np.ndarray, "H W"]:
        if not self.classes:
            return stored.astype(np.int32)
        table = np.full(256, IGNORED, np.int32)
        table[: len(self.classes)] = self.classes
        return table[stored]


def frame_size(record: Example) -> tuple[int, int]:
    """Returns the height and width of a record's frame."""
    with Image.open(io.BytesIO(record["labels"])) as image:
        return image.height, image.width


def of_picture(size: tuple[int, int]) -> Preprocessing:
    """Makes the preprocessing of ``pixels [N, H, W, 3]``, uint8: normalized as ImageNet's are."""
    return Preprocessing({"pixels": ((*size, 3), "uint8")}, _normalized, {"size": list(size)})


def of_depth(size: tuple[int, int], unit: float) -> Preprocessing:
    """Makes the preprocessing of ``depth [N, H, W]``, uint16, to ``[N, H, W, 1]``, float32.

    Args:
        size: H and W.
        unit: The depth that becomes 1, positive.
    """
    constants = {"size": list(size), "unit": unit}
    return Preprocessing({"depth": (size, "uint16")}, _depth_function(unit), constants)


def preprocessing(modality: str, constants: Mapping[str, Any]) -> Preprocessing:
    """Rebuilds the preprocessing of a modality.

    Args:
        modality: ``"image"`` or ``"depth"``.
        constants: Plain data, from a `Preprocessing` that this module made.

    Raises:
        KeyError: If the modality is unknown, or a constant is missing.
    """
    if modality not in MODALITIES:
        raise KeyError(modality)
    height, width = constants["size"]
    if "unit" in constants:
        return of_depth((height, width), constants["unit"])
    return of_picture((height, width))


# The same function for equal options: JAX finds a compiled program by the functions in it.
@functools.cache
def _depth_function(unit: float) -> Callable[[Mapping[str, Any]], Array]:
    def function(raw: Mapping[str, Any]) -> Array:
        return jnp.asarray(raw["depth"]).astype(jnp.float32)[..., None] / unit

    return function


def _normalized(raw: Mapping[str, Any]) -> Array:
    pixels = jnp.asarray(raw["pixels"]).astype(jnp.float32) / 255
    mean, std = (jnp.asarray(numbers).reshape(1, 1, 1, 3) for numbers in (MEAN, STD))
    return (pixels - mean) / std
