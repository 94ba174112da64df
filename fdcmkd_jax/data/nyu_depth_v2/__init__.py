"""NYU-Depth V2: RGB, depth and a class for every pixel of 1,449 indoor frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fdcmkd_jax.data.base import Dataset
from fdcmkd_jax.data.clips.check import Report
from fdcmkd_jax.data.clips.clip_set import summary, warn_or_refuse
from fdcmkd_jax.data.clips.dataset import first_by_hash
from fdcmkd_jax.data.index import Indexed
from fdcmkd_jax.data.nyu_depth_v2.classes import CLASSES_13, CLASSES_40, TO_13
from fdcmkd_jax.data.nyu_depth_v2.files import COUNTS, LabeledFrames, Row, read_contents
from fdcmkd_jax.data.nyu_depth_v2.generate import generate
from fdcmkd_jax.data.rgbd.stages import (
    MODALITIES,
    DepthInput,
    FrameTransform,
    frame_size,
    of_depth,
    of_picture,
)
from fdcmkd_jax.registry import ConfigError, check_choice

Border = Literal["keep", "crop"]

VALID = (44, 471, 40, 601)
"""Top, bottom, left and right of the part of a 480x640 frame on which the sensor's depth lies."""

UNIT = 10_000.0
"""Millimetres of depth that become 1 in the model's input."""


class _Set(NamedTuple):
    """The set, as `Report` reads it."""

    class_names: tuple[str, ...]
    counts: dict[str, list[int]]


def nyu_depth_v2(
    *,
    data_dir: Path,
    manual_dir: str = "",
    classes: Literal[40, 13] = 40,
    depth: DepthInput = "plain",
    border: Border = "keep",
    crop: Sequence[int] = (480, 480),
    scales: Sequence[float] = (0.5, 2.0),
    validation: float = 0.1,
    strict: bool = False,
    generated: int = 0,
) -> Dataset:
    """Loads NYU-Depth V2: 795 training frames, of which a part is for validation, and 654 to test.

    Modalities are ``image`` (``[N, H, W, 3]`` after preprocessing) and ``depth`` (``[N, H, W, 1]``,
    in units of 10 m; or ``[N, H, W, 3]`` as HHA), float32. The label is int32 ``[N, H, W]``, 255
    where a pixel has none.

    Args:
        data_dir: Folder of the prepared records.
        manual_dir: The downloaded folder; not needed once records are prepared.
        classes: 40, or 13 of which each of the 40 is a part.
        depth: ``plain``, or ``hha``: horizontal disparity, height and angle. HHA pictures are read
            from the folder ``HHA`` (``0.png`` to ``1448.png``); they are not computed here.
        border: ``crop`` cuts frames to the part on which the sensor's depth lies, 427x561; the
            frames' white, unlabelled border is cut off with the rest.
        crop: Height and width of training examples; evaluation reads whole frames.
        scales: The least and the largest factor of the random scale in training.
        validation: Share of the training scenes kept for validation, whole, in (0, 1).
        strict: Refuse a set with a defect, instead of skipping frames with a warning.
        generated: Number of frames to generate in place of the real ones, for a trial of the whole
            path; 0 for the real ones.

    Raises:
        ConfigError: If the records are not prepared and the folder is not as documented.
        ValueError: If a value is out of range.

    Source: Silberman et al., ECCV 2012; classes of Gupta et al., CVPR 2013.
    """
    from fdcmkd_jax.data.rgbd import records  # Imports TFDS, which takes a moment.

    check_choice("border", border, Border)
    if classes not in (40, 13):
        raise ValueError(f"classes must be 40 or 13, got {classes}.")
    name = "nyu_depth_v2" + ("_hha" if depth == "hha" else "")
    if generated:
        manual_dir = str(generate(data_dir / "generated", generated))
        name += f"_generated{generated}"
    folder = records.folder_of(data_dir, name)
    if not folder.is_dir():
        prepare(manual_dir, data_dir, name, hha=depth == "hha", strict=strict)
    sources, columns = records.read(folder)
    splits = _carve(sources, list(columns["train"]["group"]), validation)
    height, width = frame_size(sources["train"][0])
    top, bottom, left, right = VALID if border == "crop" else (0, height, 0, width)
    transform = FrameTransform(
        crop=tuple(crop),
        scales=tuple(scales),
        depth=depth,
        classes=TO_13 if classes == 13 else (),
        border=(top, height - bottom, left, width - right),
    )
    size = (bottom - top, right - left)
    of_input = of_picture(size) if depth == "hha" else of_depth(size, UNIT)
    return Dataset(
        modalities=MODALITIES,
        class_names=CLASSES_13 if classes == 13 else CLASSES_40,
        splits=splits,
        preprocessing={"image": of_picture(size), "depth": of_input},
        transform=transform,
        augmented=transform.augmented,
        seeded_splits=False,
    )


def check(*, data_dir: Path, manual_dir: str = "", depth: DepthInput = "plain") -> Report:
    """Checks splits and frames; see `nyu_depth_v2` for the options.

    Raises:
        ConfigError: If a file is missing or not of the documented layout.
    """
    del data_dir  # Nothing is kept.
    contents = read_contents(LabeledFrames(manual_dir, hha=depth == "hha"))
    documented = _Set(CLASSES_40, {split: [count] for split, count in COUNTS.items()})
    return Report(documented, contents.listed, contents.usable, contents.defects, "frames")


def prepare(manual_dir: str, data_dir: Path, name: str, *, hha: bool, strict: bool) -> None:
    """Writes the records of every usable frame.

    Args:
        manual_dir: The user's folder.
        data_dir: Folder of the prepared records.
        name: Name of the records.
        hha: Also store the encoded depth.
        strict: Refuse any defect.

    Raises:
        ConfigError: If a file is missing, a defect is refused, or no frame of a split is left.
    """
    from fdcmkd_jax.data.rgbd import records

    frames = LabeledFrames(manual_dir, hha=hha)
    contents = read_contents(frames)
    warn_or_refuse("nyu_depth_v2", contents.defects, strict=strict)
    by_split = {split: [row for row in contents.usable if row.split == split] for split in COUNTS}
    for split, rows in by_split.items():
        if not rows:
            raise ConfigError(
                f"nyu_depth_v2: no frame of the split {split} can be used: "
                f"{summary(contents.defects) or 'its list is empty'}."
            )
    columns = {split: _columns(rows) for split, rows in by_split.items()}
    records.write(
        data_dir, name, columns, lambda split, place: frames.read(by_split[split][place].number)
    )


def _columns(rows: list[Row]) -> dict[str, list[Any]]:
    return {
        "id": [row.number for row in rows],
        "name": [row.name for row in rows],
        "group": [row.scene for row in rows],
    }


def _carve(sources: dict[str, Indexed], scenes: list[str], share: float) -> dict[str, Indexed]:
    """Parts the training frames into ``train`` and ``val`` by whole scenes, always the same way."""
    chosen = first_by_hash(scenes, share)
    if chosen.all() or not chosen.any():
        raise ValueError(
            f"validation must be a share that leaves frames in both parts, got {share}."
        )
    train = sources["train"]
    rows = {"train": np.flatnonzero(~chosen), "val": np.flatnonzero(chosen)}
    return {
        **{name: Indexed(train, train.index, part) for name, part in rows.items()},
        "test": sources["test"],
    }
