"""Clips as a TFDS builder: waveforms and JPEG frames in array_record files, labels beside them."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from fdcmkd_jax.data import records
from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet, Defect
from fdcmkd_jax.data.clips.decoding import (
    VERSION,
    decoded_folder,
    read_decoded,
    records_folder,
    usable_clips,
    waveform_dtype,
)
from fdcmkd_jax.registry import ConfigError


class Variant(tfds.core.BuilderConfig):
    """A variant of a set's records.

    Attributes:
        clip_set: The set.
        sample_rate: Of the waveforms, in Hz.
        cache: Folder of the decoded clips.
        clips: The clips to pack, in the order of their ids.
        ids: Their ids: the places in the set's lists.
        skipped: The clips left out.
    """

    def __init__(self, clip_set: ClipSet, sample_rate: int, name: str) -> None:
        super().__init__(name=name)
        self.clip_set, self.sample_rate = clip_set, sample_rate
        self.cache = Path()
        self.clips: Sequence[Clip] = ()
        self.ids: dict[str, int] = {}
        self.skipped: Sequence[Defect] = ()


class PairedClips(records.OrderedBuilder):
    """Clips with sound and pictures."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        columns = {
            split: {
                "labels": [clip.label for clip in clips],
                "ids": [config.ids[clip.name] for clip in clips],
                "names": [clip.name for clip in clips],
                "groups": [clip.group for clip in clips],
            }
            for split, clips in _by_split(config.clips).items()
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Clips of {config.clip_set.name}: waveforms and JPEG frames.",
            features=tfds.features.FeaturesDict(
                {
                    "waveform": tfds.features.Tensor(
                        shape=(None,), dtype=np.dtype(waveform_dtype(config.sample_rate))
                    ),
                    "frames": tfds.features.Sequence(tfds.features.Text()),
                    "label": tfds.features.ClassLabel(names=list(config.clip_set.class_names)),
                    "id": tfds.features.Scalar(dtype=np.int32),
                }
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(
                columns=columns, skipped=[list(defect) for defect in config.skipped]
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        splits = _by_split(self.builder_config.clips)
        return {split: self._generate_examples(clips) for split, clips in splits.items()}

    def _generate_examples(self, clips: Sequence[Clip]) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for clip in clips:
            waveform, frames = read_decoded(config.cache, clip)
            number = config.ids[clip.name]
            yield (
                number,
                {"waveform": waveform, "frames": frames, "label": clip.label, "id": number},
            )


def prepare(
    clip_set: ClipSet,
    *,
    manual_dir: Path | None,
    data_dir: Path,
    sample_rate: int,
    variant: str = "",
    strict: bool = False,
) -> Path:
    """Writes the records of a set, unless they are there.

    Clips are decoded one by one into a folder of their own, from which an interrupted preparation
    continues; it is removed when the records are complete.

    Args:
        clip_set: The set.
        manual_dir: The user's folder; not needed where the records are there.
        data_dir: Folder of the prepared records.
        sample_rate: Of the waveforms, in Hz.
        variant: Name of the lists' options, part of the folder's name.
        strict: Refuse a set with a defect, instead of skipping the clip with a warning.

    Returns:
        The folder of the records.

    Raises:
        ConfigError: If the lists are not there, a defect is refused, or no clip of a split is left.
    """
    folder = records_folder(clip_set, data_dir, sample_rate, variant)
    if folder.is_dir():
        return folder
    cache = decoded_folder(folder)
    clips, skipped = usable_clips(clip_set, manual_dir, cache, sample_rate)
    if skipped and strict:
        raise ConfigError(f"{clip_set.name}: {summary(skipped)}; data.strict refuses them.")
    for kind, count in Counter(defect.kind for defect in skipped).items():
        names = ", ".join(defect.name for defect in skipped if defect.kind == kind)
        logging.warning("%s: %d skipped: %s (%.200s)", clip_set.name, count, kind, names)
    for split in clip_set.counts:
        if not any(clip.split == split for clip in clips):
            raise ConfigError(
                f"{clip_set.name}: no clip of the split {split} can be used: {summary(skipped)}."
            )
    config = Variant(clip_set, sample_rate, folder.parent.name)
    config.clips, config.skipped = clips, skipped
    config.ids = {clip.name: number for number, clip in enumerate(clip_set.listing(manual_dir)[0])}
    config.cache = cache
    records.write(
        lambda: PairedClips(data_dir=data_dir, config=config, file_format="array_record"), folder
    )
    shutil.rmtree(cache, ignore_errors=True)
    return folder


def summary(defects: Sequence[Defect]) -> str:
    """Describes defects in one line: how many of each kind, and the first names."""
    kinds = Counter(defect.kind for defect in defects)
    parts = []
    for kind, count in kinds.items():
        names = [defect.name for defect in defects if defect.kind == kind]
        more = ", ..." if count > 3 else ""
        parts.append(f"{count} {kind} ({', '.join(names[:3])}{more})")
    return "; ".join(parts)


def _by_split(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    splits: dict[str, list[Clip]] = {}
    for clip in clips:
        splits.setdefault(clip.split, []).append(clip)
    return splits
