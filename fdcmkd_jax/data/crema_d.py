"""CREMA-D: acted emotions of 91 speakers, sound and face video."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from fdcmkd_jax.data.base import Dataset
from fdcmkd_jax.data.clips import lists
from fdcmkd_jax.data.clips.check import Report, check_files
from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet, Defect, Listing
from fdcmkd_jax.data.clips.dataset import choose_spectrogram, load
from fdcmkd_jax.data.clips.generate import split_counts
from fdcmkd_jax.data.clips.spectrogram import C2KD, FD_CMKD, SHORT, SMALL

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
FIRST_ACTOR = 1001
SPECTROGRAMS = {"fd_cmkd": FD_CMKD, "c2kd": C2KD, "short": SHORT, "small": SMALL}
_NAME = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_[A-Z]{2}")


def read_lists(folder: Path) -> Listing:
    """Reads ``train.csv`` and ``test.csv``: rows of a clip's name and its emotion.

    Ready frames under ``Image-01-FPS`` are preferred to ``VideoFlash``.

    Raises:
        ConfigError: If a list or folder is missing.
    """
    lists.require(CREMA_D, folder, "train.csv", "test.csv", "AudioWAV")
    lists.require_one(CREMA_D, folder, "VideoFlash", "Image-01-FPS")
    ready = lists.names_in(folder / "Image-01-FPS")

    def clips() -> Iterator[Clip | Defect]:
        for split in ("train", "test"):
            for place, row in lists.rows(folder / f"{split}.csv"):
                match = _NAME.fullmatch(row[0]) if len(row) == 2 else None
                if match is None:
                    yield lists.malformed(place, row, "1001_IEO_NEU_XX,NEU")
                elif row[1] not in EMOTIONS:
                    yield Defect("unknown label", row[0], f"{row[1]!r} is not one of {EMOTIONS}")
                elif row[1] != match[2]:
                    yield Defect("wrong label", row[0], f"the {split} list says {row[1]}")
                else:
                    name = row[0]
                    video = f"Image-01-FPS/{name}" if name in ready else f"VideoFlash/{name}.flv"
                    label = EMOTIONS.index(row[1])
                    yield Clip(name, label, split, match[1], f"AudioWAV/{name}.wav", video)

    return lists.without_repetition(clips())


def write_lists(folder: Path, count: int) -> None:
    """Writes both lists for generated clips; see `ClipSet`."""
    for name in ("AudioWAV", "VideoFlash"):
        (folder / name).mkdir()
    numbers = itertools.count()
    for split, of_class in split_counts(count, "test").items():
        clips = [divmod(next(numbers), len(SENTENCES)) for _ in range(of_class)]
        rows = [
            f"{FIRST_ACTOR + actor}_{SENTENCES[sentence]}_{emotion}_XX,{emotion}\n"
            for actor, sentence in clips
            for emotion in EMOTIONS
        ]
        (folder / f"{split}.csv").write_text("".join(rows), encoding="utf-8")


CREMA_D = ClipSet(
    name="crema_d",
    class_names=EMOTIONS,
    layout="a folder with AudioWAV/ and VideoFlash/ of CheyneyComputerScience/CREMA-D (git lfs), "
    "and train.csv and test.csv of huofushuo/C2KD (cramed/utils/data/CREMAD)",
    read_lists=read_lists,
    write_lists=write_lists,
    counts={
        "train": (973, 1148, 1131, 1138, 1142, 1166),
        "test": (114, 123, 140, 133, 129, 105),
    },
    min_frames=3,
)


def crema_d(
    *,
    data_dir: Path,
    manual_dir: str = "",
    spectrogram: str = "fd_cmkd",
    validation: float = 0.1,
    speaker_disjoint: bool = False,
    strict: bool = False,
    num_frames: int = 1,
    image_size: int = 224,
    image_augment: bool = True,
    num_masks: int = 0,
    time_mask: int = 100,
    frequency_mask: int = 27,
    generated: int = 0,
) -> Dataset:
    """Loads CREMA-D: 6,698 training and 744 test clips of 6 acted emotions.

    All 91 speakers are in both official parts. The validation split is drawn from the training
    part by a hash of the names, the same for every seed.

    Args:
        data_dir: Folder of the prepared records.
        manual_dir: The downloaded folder, see `CREMA_D`; not needed once records are prepared.
        spectrogram: ``fd_cmkd`` (257 x 1004), ``c2kd`` (257 x 188), ``short`` (257 x 299) or
            ``small`` (129 x 65, for trials).
        validation: Share of the training clips kept for validation.
        speaker_disjoint: Draw whole speakers for validation.
        strict: Refuse a set with defective clips, instead of skipping them with a warning.
        num_frames: Pictures of an example.
        image_size: Side of a picture, in pixels.
        image_augment: Random resized crops and flips in training.
        num_masks: SpecAugment masks along time, and as many along frequency; 0 for none.
        time_mask: Longest mask along time, in frames.
        frequency_mask: Longest mask along frequency, in bins.
        generated: Training clips of each class to generate in place of the real ones, for a trial
            of the whole path; 0 for the real ones.

    Raises:
        ConfigError: If the records are not prepared and the folder is not as documented.
        ValueError: If a value is out of range.
    """
    return load(
        CREMA_D,
        choose_spectrogram(SPECTROGRAMS, spectrogram),
        data_dir=data_dir,
        manual_dir=manual_dir,
        generated=generated,
        strict=strict,
        validation=validation,
        whole_groups=speaker_disjoint,
        num_frames=num_frames,
        image_size=image_size,
        image_augment=image_augment,
        num_masks=num_masks,
        time_mask=time_mask,
        frequency_mask=frequency_mask,
    )


def check(*, data_dir: Path, manual_dir: str = "", spectrogram: str = "fd_cmkd") -> Report:
    """Checks a downloaded CREMA-D; options as of `crema_d`."""
    return check_files(
        CREMA_D,
        manual_dir=manual_dir,
        data_dir=data_dir,
        sample_rate=choose_spectrogram(SPECTROGRAMS, spectrogram).sample_rate,
    )
