"""Pictures of a clip on the host: decoding, random crops and flips, as torchvision draws them."""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10


class Crop(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_crop(
    height: int,
    width: int,
    random: np.random.Generator,
    *,
    scale: tuple[float, float] = SCALE,
    ratio: tuple[float, float] = RATIO,
) -> Crop:
    """Draws the rectangle of a random resized crop.

    The area is uniform in ``scale``, the ratio of width to height log-uniform in ``ratio``. If ten
    draws do not fit, the rectangle is the largest central one whose ratio is allowed.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        random: The generator.
        scale: Least and largest share of the picture's area.
        ratio: Least and largest ratio of width to height.

    Source: RandomResizedCrop of pytorch/vision.
    """
    for _ in range(ATTEMPTS):
        area = height * width * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(random.integers(0, height - h + 1))
            return Crop(top, int(random.integers(0, width - w + 1)), h, w)
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return Crop((height - h) // 2, (width - w) // 2, h, w)


def choose_frames(available: int, count: int, random: np.random.Generator | None) -> Sequence[int]:
    """Chooses frames of a clip, in their order.

    In training they are drawn, without repetition if there are enough. In evaluation they stand in
    the middle of as many equal parts of the clip: a single one in the middle.

    Source: for one frame, the loader of the public re-upload zxn0710/re-FD-CMKD-main.
    """
    if random is None:
        return [(2 * part + 1) * available // (2 * count) for part in range(count)]
    return sorted(random.choice(available, count, replace=available < count).tolist())


def decode(
    pictures: Sequence[bytes], size: int, crop: tuple[int, int, int, int] | None, flip: bool
) -> UInt8[np.ndarray, "F size size 3"]:
    """Decodes pictures and resizes one rectangle of each.

    Args:
        pictures: JPEG or PNG files, F of them.
        size: Side of the results, in pixels.
        crop: Left, top, right and bottom of the rectangle, in pixels; None for the whole picture,
            whose ratio is not kept.
        flip: Mirror left and right.

    Returns:
        Shape ``[F, size, size, 3]``, uint8, RGB; bilinear with antialiasing.
    """
    resized = []
    for encoded in pictures:
        with Image.open(io.BytesIO(encoded)) as image:
            rgb = image.convert("RGB") if crop is None else image.convert("RGB").crop(crop)
            resized.append(np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR)))
    stacked = np.stack(resized)
    return np.ascontiguousarray(stacked[:, :, ::-1]) if flip else stacked


def size_of(picture: bytes) -> tuple[int, int]:
    """Returns height and width of a JPEG or PNG file without decoding its pixels."""
    with Image.open(io.BytesIO(picture)) as image:
        return image.height, image.width
