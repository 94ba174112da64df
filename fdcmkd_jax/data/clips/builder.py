"""Clips as a TFDS builder: waveforms and JPEG frames in array_record files, labels beside them."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from google.protobuf.json_format import ParseError

from fdcmkd_jax.data import records
from fdcmkd_jax.data.base import Source
from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet, Defect
from fdcmkd_jax.data.clips.decoding import decode_clips, read_decoded
from fdcmkd_jax.data.index import Index, Indexed
from fdcmkd_jax.registry import ConfigError

NATIVE_RATE = 16_000
VERSION = "1.0.0"


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


def waveform_dtype(sample_rate: int) -> str:
    """Returns the dtype of stored waveforms.

    Resampled sound is kept as float32: rounded to 16 bits, the empty high bins of a spectrogram
    would hold the rounding.
    """
    return "int16" if sample_rate == NATIVE_RATE else "float32"


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
    name = records_name(clip_set, sample_rate, variant)
    folder = data_dir / PairedClips.name / name / VERSION
    if folder.is_dir():
        return folder
    cache = decoded_folder(data_dir, name)
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
    config = Variant(clip_set, sample_rate, name)
    config.clips, config.skipped = clips, skipped
    config.ids = {clip.name: number for number, clip in enumerate(clip_set.listing(manual_dir)[0])}
    config.cache = cache
    records.write(
        lambda: PairedClips(data_dir=data_dir, config=config, file_format="array_record"), folder
    )
    shutil.rmtree(cache, ignore_errors=True)
    return folder


def usable_clips(
    clip_set: ClipSet, manual_dir: Path | None, cache: Path, sample_rate: int
) -> tuple[list[Clip], list[Defect]]:
    """Decodes all clips; returns those that can be used, and every defect of lists and files."""
    clips, defects = clip_set.listing(manual_dir)
    assert manual_dir is not None, "checked by listing"
    unusable = decode_clips(
        clips,
        manual_dir,
        cache,
        sample_rate=sample_rate,
        dtype=waveform_dtype(sample_rate),
        min_frames=clip_set.min_frames,
        title=f"decoding {clip_set.name}",
    )
    names = {defect.name for defect in unusable}
    return [clip for clip in clips if clip.name not in names], [*defects, *unusable]


def records_name(clip_set: ClipSet, sample_rate: int, variant: str) -> str:
    """Returns the name of a variant of a set's records."""
    return "_".join(filter(None, (clip_set.name, variant, f"{sample_rate}hz")))


def decoded_folder(data_dir: Path, name: str) -> Path:
    """Returns the folder of the decoded clips of a variant, which are removed once packed."""
    return data_dir / PairedClips.name / f"{name}_decoded"


def summary(defects: Sequence[Defect]) -> str:
    """Describes defects in one line: how many of each kind, and the first names."""
    kinds = Counter(defect.kind for defect in defects)
    parts = []
    for kind, count in kinds.items():
        names = [defect.name for defect in defects if defect.kind == kind]
        more = ", ..." if count > 3 else ""
        parts.append(f"{count} {kind} ({', '.join(names[:3])}{more})")
    return "; ".join(parts)


class PreparedSplit(Indexed):
    """A split of prepared records.

    Attributes:
        names: The clips' names.
        groups: The speakers or source videos.
    """

    def __init__(self, records: Source, columns: dict[str, Any]) -> None:
        labels, ids = (np.array(columns[name], np.int32) for name in ("labels", "ids"))
        super().__init__(records, Index.of(labels, ids))
        self.names, self.groups = list(columns["names"]), list(columns["groups"])


def read_prepared(folder: Path) -> tuple[tuple[str, ...], dict[str, PreparedSplit]]:
    """Opens prepared records; reads only the last one of each split, to see whether it is there.

    Args:
        folder: As `prepare` returned it.

    Returns:
        The names of the classes, and the splits.

    Raises:
        ConfigError: If the records are damaged.
    """
    try:
        builder = tfds.builder_from_directory(folder)
        columns = builder.info.metadata["columns"]
        splits = {
            split: PreparedSplit(builder.as_data_source(split=split), columns[split])
            for split in columns
        }
        for prepared in splits.values():
            prepared[len(prepared) - 1]
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ParseError) as error:
        raise ConfigError(
            f"cannot read the records under {folder} ({error}); delete that folder to prepare them "
            "again."
        ) from error
    return tuple(builder.info.features["label"].names), splits


def _by_split(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    splits: dict[str, list[Clip]] = {}
    for clip in clips:
        splits.setdefault(clip.split, []).append(clip)
    return splits
