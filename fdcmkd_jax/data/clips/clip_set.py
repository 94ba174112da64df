"""Metadata of a set of clips: its classes, its lists and the counts that its authors state."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fdcmkd_jax.registry import ConfigError


class Clip(NamedTuple):
    """One row of a set's lists.

    Attributes:
        name: Its key, unique in the set, which may serve as the name of a file.
        label: Index of its class.
        split: ``train``, ``val`` or ``test``.
        group: The speaker or the source video.
        sound: The file with its sound, relative to the user's folder.
        video: The file with its pictures, or a folder of frames, relative to the user's folder.
        segment: Start and end of the part to keep, in seconds; None for all.
    """

    name: str
    label: int
    split: str
    group: str
    sound: str
    video: str
    segment: tuple[int, int] | None = None


class Defect(NamedTuple):
    """Something wrong with a set's lists or files.

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


class Listing(NamedTuple):
    """The contents of a set's lists.

    Attributes:
        clips: The clips, in the order of the lists.
        defects: Rows that cannot be used.
    """

    clips: list[Clip]
    defects: list[Defect]


@dataclass(frozen=True)
class ClipSet:
    """A set of clips.

    Attributes:
        name: Its name in the table of data sets.
        class_names: One name per class, in the order of the labels.
        layout: What the user's folder must hold, and where it comes from, in one line.
        read_lists: Reads the lists under the user's folder. Raises ConfigError where a list or a
            folder is missing.
        write_lists: Writes lists, and the folders beside them, for a number of generated training
            clips of each class; see `generate`.
        counts: By split, the documented number of clips of each class; where only their total is
            documented, a tuple of that one number.
        min_frames: Least number of frames kept per clip.
    """

    name: str
    class_names: tuple[str, ...]
    layout: str
    read_lists: Callable[[Path], Listing]
    write_lists: Callable[[Path, int], None]
    counts: Mapping[str, Sequence[int]]
    min_frames: int

    def listing(self, folder: Path | None) -> Listing:
        """Reads the lists under the user's folder.

        Raises:
            ConfigError: If there is no such folder, or it does not have the set's layout.
        """
        if folder is None:
            raise ConfigError(
                f"{self.name} must be downloaded by hand: set data.manual_dir to {self.layout}."
            )
        if not folder.is_dir():
            raise ConfigError(
                f"data.manual_dir of {self.name}: there is no folder {folder}; expected "
                f"{self.layout}."
            )
        return self.read_lists(folder)
