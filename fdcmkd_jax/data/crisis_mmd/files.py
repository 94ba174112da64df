"""Pictures of CrisisMMD: those that can be decoded, and what is wrong with the others."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from fdcmkd_jax.data.clips import frames, media
from fdcmkd_jax.data.clips.clip_set import Defect
from fdcmkd_jax.data.crisis_mmd.lists import LAYOUT, Choice, Row, find, read_lists
from fdcmkd_jax.registry import ConfigError


class Contents(NamedTuple):
    """The contents of the user's folder.

    Attributes:
        pictures: The folder that the pictures' paths are relative to.
        listed: The rows of the lists.
        usable: Those whose picture can be decoded.
        defects: Everything wrong with lists and pictures.
    """

    pictures: Path
    listed: list[Row]
    usable: list[Row]
    defects: list[Defect]


def read_contents(manual_dir: str, choice: Choice) -> Contents:
    """Reads lists and decodes every picture once.

    Args:
        manual_dir: The user's folder.
        choice: The task, rows and labels.

    Raises:
        ConfigError: If the folder, a list or the folder of pictures is missing.
    """
    folder = Path(manual_dir)
    if not manual_dir or not folder.is_dir():
        missing = f"there is no folder {folder}" if manual_dir else "it must be downloaded by hand"
        raise ConfigError(f"data.manual_dir of crisis_mmd: {missing}; expected {LAYOUT}.")
    pictures = find(folder, "data_image").parent
    listed, defects = read_lists(folder, choice)
    unusable = list(_unusable(pictures, listed))
    names = {defect.name for defect in unusable}
    usable = [row for row in listed if row.name not in names]
    return Contents(pictures, listed, usable, [*defects, *unusable])


def _unusable(folder: Path, rows: Sequence[Row]) -> Iterator[Defect]:
    # Decoders run outside Python's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda row: _defect(folder / row.picture, row.name), rows)
        bar = tqdm(found, total=len(rows), desc="decoding crisis_mmd", unit="picture", disable=None)
        yield from (defect for defect in bar if defect is not None)


def _defect(path: Path, name: str) -> Defect | None:
    """Returns what is wrong with a picture; None if it can be decoded."""
    try:
        media.check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of pictures that are large, or oddly encoded.
            with Image.open(path) as image:
                frames.to_rgb(image)
    except media.ClipError as error:
        return Defect(error.kind, name, str(error))
    except Exception as error:  # Pillow's decoders raise many kinds.
        kind = "truncated file" if "truncated" in str(error) else "unreadable file"
        return Defect(kind, name, f"{path.name}: {error}")
    return None
