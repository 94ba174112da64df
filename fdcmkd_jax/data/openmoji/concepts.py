"""One emoji per concept: variants of gender, hair, color, size and hour are left out."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from fdcmkd_jax.data.openmoji.raw import Emoji
from fdcmkd_jax.registry import ConfigError

SIDE = 64
"""Side of a stored picture, in pixels."""

SCALE = 2
"""Pictures are drawn larger by this factor, and averaged."""

COMPARED_SIDE, NEAR = 32, 0.06
"""Two pictures of a group are one if their colors, in [0, 1], differ by less at this side."""

_PERSONS = {
    "man",
    "woman",
    "person",
    "men",
    "women",
    "people",
    "boy",
    "girl",
    "adult",
    "child",
    "prince",
    "princess",
    "mrs",
    "mx",
    "santa",
    "claus",
    "mother",
    "father",
}
_LOOKS = {"beard", "blond", "red", "curly", "white", "hair", "bald"}
_COLORS = {
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "brown",
    "black",
    "white",
    "grey",
    "pink",
    "light",
    "dark",
}
_SIZES = {"large", "medium", "small", "medium-small"}


class Concept(NamedTuple):
    """An emoji with its picture.

    Attributes:
        emoji: The emoji.
        picture: A PNG file of ``SIDE`` pixels, on white.
    """

    emoji: Emoji
    picture: bytes


def key_of(emoji: Emoji) -> tuple[str, str]:
    """Returns the concept of an emoji: its group, and its name without what varies."""
    name = emoji.name.lower().replace(".", "")
    words = re.split(r"[\s:,]+", name)
    if emoji.subgroup in ("keycap", "family"):
        words = [emoji.subgroup] if words[0] in ("keycap", "family") else words
    if re.search(r"o.clock|-thirty", name):
        words = ["clock"]
    if emoji.group == "People & Body":
        varied = _PERSONS | (_LOOKS if emoji.subgroup == "person" else set())
        words = [word for word in words if word not in varied]
    elif emoji.group in ("Symbols", "Smileys & Emotion", "Objects"):
        words = ["*" if word in _COLORS | _SIZES else word for word in words]
        words = [word for i, word in enumerate(words) if word != "*" or words[i - 1 : i] != ["*"]]
    return emoji.group, " ".join(words)


def first_of_each(emoji: Sequence[Emoji]) -> list[Emoji]:
    """Keeps the first emoji of each concept."""
    first: dict[tuple[str, str], Emoji] = {}
    for each in emoji:
        first.setdefault(key_of(each), each)
    return list(first.values())


def draw(emoji: Sequence[Emoji], folder: Path) -> list[Concept]:
    """Draws each emoji, and leaves out those that look like an earlier one of their group.

    Args:
        emoji: The emoji.
        folder: Folder of SVG files named by code points.

    Raises:
        ConfigError: If the package that draws is missing, or an emoji has no file.
    """
    concepts: list[Concept] = []
    seen: dict[str, list[np.ndarray]] = {}
    for each in emoji:
        image = _draw(_file_of(each, folder))
        small = np.asarray(image.resize((COMPARED_SIDE,) * 2, Image.Resampling.BOX)) / 255.0
        earlier = seen.setdefault(each.group, [])
        if any(_distance(small, other) < NEAR for other in earlier):
            continue
        earlier.append(small)
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        concepts.append(Concept(each, file.getvalue()))
    return concepts


def _file_of(emoji: Emoji, folder: Path) -> Path:
    names = (emoji.code, emoji.code.replace("-FE0F", ""))
    for name in names:
        if (folder / f"{name}.svg").is_file():
            return folder / f"{name}.svg"
    raise ConfigError(f"{folder} holds no picture of {emoji.name} ({emoji.code}).")


def _draw(path: Path) -> Image.Image:
    png = _library().svg_to_bytes(
        svg_path=str(path), background="#ffffff", width=SCALE * SIDE, height=SCALE * SIDE
    )
    with Image.open(io.BytesIO(bytes(png))) as image:
        return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)


def _library() -> Any:
    try:
        import resvg_py
    except ModuleNotFoundError:
        raise ConfigError("drawing the emoji needs a package: pip install resvg-py.") from None
    return resvg_py


def _distance(one: Float[np.ndarray, "H W 3"], other: Float[np.ndarray, "H W 3"]) -> float:
    return float(np.sqrt(np.mean(np.square(one - other))))
