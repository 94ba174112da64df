"""Check of a set's lists and files against its documentation, before anything is trained."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from fdcmkd_jax.data.clips.clip_set import ClipSet, Defect
from fdcmkd_jax.data.clips.decoding import decoded_folder, records_folder, usable_clips

SHOWN = 5
"""Number of defects of a kind that are shown."""


@runtime_checkable
class Row(Protocol):
    """One row of a set's lists, with the split and the index of its class."""

    @property
    def label(self) -> int:
        """The index of its class."""

    @property
    def split(self) -> str:
        """The split that lists it."""


@runtime_checkable
class Documented(Protocol):
    """A set with its classes and their documented counts; see `ClipSet`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""

    @property
    def counts(self) -> Mapping[str, Sequence[int]]:
        """The documented number of rows of each class by split."""


class Report(NamedTuple):
    """The result of a check.

    Attributes:
        clip_set: The set. Counts of a split that are not documented are empty.
        listed: The rows of the lists.
        usable: Those that can be decoded.
        defects: Everything wrong with lists and files.
        unit: Name of a row, for messages.
    """

    clip_set: Documented
    listed: Sequence[Row]
    usable: Sequence[Row]
    defects: Sequence[Defect]
    unit: str = "clips"

    @property
    def ok(self) -> bool:
        """Whether the set is whole and as documented."""
        return not self.defects and not list(self.differences())

    def differences(self) -> Iterator[str]:
        """Yields a line for each count of the lists that is not the documented one."""
        for split, documented in self.clip_set.counts.items():
            if not documented:
                continue
            counts = self._class_counts(self.listed, split)
            if sum(counts) != sum(documented):
                yield (
                    f"{split}: {sum(counts):,} {self.unit} listed, {sum(documented):,} documented"
                )
            if len(documented) < len(counts):
                continue
            for name, count, expected in zip(
                self.clip_set.class_names, counts, documented, strict=True
            ):
                if count != expected:
                    yield (
                        f"{split}, {name}: {count:,} {self.unit} listed, {expected:,} documented"
                    )

    def lines(self) -> Iterator[str]:
        """Yields the report line by line."""
        for split, documented in self.clip_set.counts.items():
            listed, usable = (
                sum(row.split == split for row in rows) for rows in (self.listed, self.usable)
            )
            number = f"{sum(documented):,}" if documented else "unknown"
            yield (f"{split:6} {number:>7} documented {listed:>7,} listed {usable:>7,} usable")
        yield from self.differences()
        for kind, count in Counter(defect.kind for defect in self.defects).items():
            yield f"{count:,} {kind}:"
            of_kind = [defect for defect in self.defects if defect.kind == kind]
            yield from (f"    {defect.name}: {defect.detail}" for defect in of_kind[:SHOWN])
            if count > SHOWN:
                yield f"    and {count - SHOWN:,} more"
        yield "no defect" if self.ok else "skipped in training, unless data.strict refuses them"

    def _class_counts(self, rows: Sequence[Row], split: str) -> list[int]:
        labels = [row.label for row in rows if row.split == split]
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
    cache = decoded_folder(records_folder(clip_set, data_dir, sample_rate, variant))
    folder = Path(manual_dir) if manual_dir else None
    listed = clip_set.listing(folder).clips
    usable, defects = usable_clips(clip_set, folder, cache, sample_rate)
    return Report(clip_set, listed, usable, defects)
