"""Check of a set's lists and files against its documentation, before anything is trained."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fdcmkd_jax.data.clips.builder import decoded_folder, records_name, usable_clips
from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet, Defect

SHOWN = 5
"""Number of defects of a kind that are shown."""


class Report(NamedTuple):
    """The result of a check.

    Attributes:
        clip_set: The set.
        listed: The clips of the lists.
        usable: Those that can be decoded.
        defects: Everything wrong with lists and files.
    """

    clip_set: ClipSet
    listed: Sequence[Clip]
    usable: Sequence[Clip]
    defects: Sequence[Defect]

    @property
    def ok(self) -> bool:
        """Whether the set is whole and as documented."""
        return not self.defects and not list(self.differences())

    def differences(self) -> Iterator[str]:
        """Yields a line for each count of the lists that is not the documented one."""
        for split, documented in self.clip_set.counts.items():
            counts = self._class_counts(self.listed, split)
            if sum(counts) != sum(documented):
                yield f"{split}: {sum(counts):,} clips listed, {sum(documented):,} documented"
            if len(documented) < len(counts):
                continue
            for name, count, expected in zip(
                self.clip_set.class_names, counts, documented, strict=True
            ):
                if count != expected:
                    yield f"{split}, {name}: {count:,} clips listed, {expected:,} documented"

    def lines(self) -> Iterator[str]:
        """Yields the report line by line."""
        for split, documented in self.clip_set.counts.items():
            listed, usable = (
                sum(clip.split == split for clip in clips) for clips in (self.listed, self.usable)
            )
            yield (
                f"{split:6} {sum(documented):>7,} documented {listed:>7,} listed "
                f"{usable:>7,} usable"
            )
        yield from self.differences()
        for kind, count in Counter(defect.kind for defect in self.defects).items():
            yield f"{count:,} {kind}:"
            of_kind = [defect for defect in self.defects if defect.kind == kind]
            yield from (f"    {defect.name}: {defect.detail}" for defect in of_kind[:SHOWN])
            if count > SHOWN:
                yield f"    and {count - SHOWN:,} more"
        yield "no defect" if self.ok else "skipped in training, unless data.strict refuses them"

    def _class_counts(self, clips: Sequence[Clip], split: str) -> list[int]:
        labels = [clip.label for clip in clips if clip.split == split]
        return np.bincount(np.array(labels, int), minlength=len(self.clip_set.class_names)).tolist()


def check_files(
    clip_set: ClipSet,
    *,
    manual_dir: str,
    data_dir: Path,
    sample_rate: int,
    variant: str = "",
) -> Report:
    """Checks lists and files; `builder.prepare` goes on from what is decoded here.

    Args:
        clip_set: The set.
        manual_dir: The user's folder.
        data_dir: Folder of the prepared records.
        sample_rate: Of the waveforms, in Hz.
        variant: Name of the lists' options.

    Raises:
        ConfigError: If a list or folder is missing.
    """
    cache = decoded_folder(data_dir, records_name(clip_set, sample_rate, variant))
    folder = Path(manual_dir) if manual_dir else None
    listed = clip_set.listing(folder).clips
    usable, defects = usable_clips(clip_set, folder, cache, sample_rate)
    return Report(clip_set, listed, usable, defects)
