"""Metadata of a set of clips: its classes, its lists and the counts that its authors state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Clip(NamedTuple):
    """One row of a set's lists.

    Attributes:
        name: Its key, unique in the set; a file name without folders is made of it.
        label: Index of its class.
        split: ``train``, ``val`` or ``test``.
        group: The speaker or the source video; clips of one group may be kept in one split.
        sound: The file with its sound, relative to the user's folder.
        video: The file with its pictures, or a folder of ready frames, relative to the same.
        segment: Start and end of the part to keep, in seconds; None for all.
    """

    name: str
    label: int
    split: str
    group: str
    sound: str
    video: str
    segment: tuple[float, float] | None = None


class Defect(NamedTuple):
    """One thing that is wrong with a set's lists or files.

    Attributes:
        kind: One of `KINDS`.
        name: The clip, or the place in a list.
        detail: One line on it.
    """

    kind: str
    name: str
    detail: str


KINDS = (
    "missing file",
    "LFS pointer",
    "truncated file",
    "unreadable file",
    "no sound",
    "silent",
    "no picture",
    "malformed row",
    "unknown label",
    "wrong label",
    "duplicate id",
    "id in two splits",
)
"""The kinds of defects."""


@dataclass(frozen=True)
class ClipSet:
    """A set of clips.

    Attributes:
        name: Its name in the table of data sets.
        class_names: One name per class, in the order of the labels.
        list_clips: Reads the lists under the user's folder; returns the clips, in the lists' order,
            and the defects of the lists. Raises ConfigError where a list or folder is missing.
        counts: By split, the documented number of rows of each class; where only the total is
            documented, a tuple of that one number.
        min_frames: Least number of frames kept per clip.
        optional_files: Absent clips are expected, because some cannot be downloaded any more.
    """

    name: str
    class_names: tuple[str, ...]
    list_clips: Callable[[Path], tuple[list[Clip], list[Defect]]]
    counts: Mapping[str, tuple[int, ...]]
    min_frames: int
    optional_files: bool = False
