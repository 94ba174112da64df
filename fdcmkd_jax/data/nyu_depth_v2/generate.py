"""Generated frames in the files of NYU-Depth V2, to try the whole path without the real ones."""

from pathlib import Path
from typing import Any

import numpy as np

from fdcmkd_jax.data.nyu_depth_v2.classes import NUM_RAW
from fdcmkd_jax.data.nyu_depth_v2.files import FRAMES, SPLITS
from fdcmkd_jax.registry import ConfigError

USER_BLOCK = 512
SHAPES = {3: 11, 5: 5, 157: 4}
"""Raw labels of the boxes in frames, and their depth in twelfths of that of the wall behind."""


def generate(folder: Path, count: int, *, size: tuple[int, int] = (48, 64)) -> Path:
    """Writes a MATLAB v7.3 file of frames, and their split; keeps what is there.

    A frame shows a floor (11) and a wall (21), with a box of a random class before it, whose color
    and depth tell its class. A border of two pixels is white and unlabelled, as in the real set.

    Args:
        folder: Where to write; made if missing.
        count: Number of frames; the last third is for testing.
        size: H and W.

    Returns:
        The folder.

    Raises:
        ConfigError: If h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            "nyu_depth_v2 needs h5py; pip install -r requirements-prepare.txt"
        ) from error
    from scipy import io

    folder = folder / f"nyu_depth_v2_{count}x{size[0]}x{size[1]}"
    if (folder / SPLITS).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    frames = [_frame(random, *size) for _ in range(count)]
    images, depths, labels = (np.stack(part) for part in zip(*frames, strict=True))
    with h5py.File(folder / FRAMES, "w", userblock_size=USER_BLOCK) as file:
        # MATLAB's axes are reversed.
        file["images"] = images.transpose(0, 3, 2, 1)
        file["depths"] = depths.transpose(0, 2, 1)
        file["rawDepths"] = depths.transpose(0, 2, 1)
        file["labels"] = labels.transpose(0, 2, 1)
        names = [f"name {number}" for number in range(1, NUM_RAW + 1)]
        scenes = [f"room_{number // 2:04}" for number in range(count)]
        for name, texts in (("names", names), ("scenes", scenes)):
            file[name] = np.array([[_text(file, text) for text in texts]], h5py.ref_dtype)
    with (folder / FRAMES).open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(USER_BLOCK - 12))
    numbers = np.arange(1, count + 1, dtype=np.uint16)[:, None]
    first = count - count // 3
    io.savemat(folder / SPLITS, {"trainNdxs": numbers[:first], "testNdxs": numbers[first:]})
    return folder


def _frame(
    random: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws a picture, its depth in metres and its raw labels."""
    horizon = int(random.integers(height // 2, 3 * height // 4))
    labels = np.full((height, width), 21, np.uint16)
    labels[horizon:] = 11
    wall = random.uniform(4, 8)
    depth = np.full((height, width), wall, np.float32)
    depth[horizon:] = np.linspace(wall, 1.5, height - horizon, dtype=np.float32)[:, None]
    raw, twelfths = list(SHAPES.items())[random.integers(len(SHAPES))]
    top, left = random.integers(4, height // 2), random.integers(4, width // 2)
    box = np.s_[top : top + height // 3, left : left + width // 3]
    labels[box], depth[box] = raw, wall * twelfths / 12
    shade = (labels[..., None] * np.array([37, 91, 53]) % 200).astype(np.int64)
    image = np.clip(shade + random.integers(-25, 26, (height, width, 3)), 0, 255).astype(np.uint8)
    inside = np.zeros((height, width), bool)
    inside[2:-2, 2:-2] = True
    return np.where(inside[..., None], image, 254), depth, np.where(inside, labels, 0)


def _text(file: Any, text: str) -> Any:
    """Stores a text as MATLAB does, and returns a reference to it."""
    group = file.require_group("#refs#")
    stored = group.create_dataset(
        f"text{len(group)}", data=np.array([[ord(c)] for c in text], np.uint16)
    )
    return stored.ref
