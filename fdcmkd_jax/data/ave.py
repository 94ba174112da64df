"""AVE: audio-visual events in ten-second clips of AudioSet."""

import functools
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
from fdcmkd_jax.data.clips.spectrogram import C2KD_EVENTS, SMALL

CLASS_NAMES = (
    "Church bell",
    "Male speech, man speaking",
    "Bark",
    "Fixed-wing aircraft, airplane",
    "Race car, auto racing",
    "Female speech, woman speaking",
    "Helicopter",
    "Violin, fiddle",
    "Flute",
    "Ukulele",
    "Frying (food)",
    "Truck",
    "Shofar",
    "Motorcycle",
    "Acoustic guitar",
    "Train horn",
    "Clock",
    "Banjo",
    "Goat",
    "Baby cry, infant cry",
    "Bus",
    "Chainsaw",
    "Cat",
    "Horse",
    "Toilet flush",
    "Rodents, rats, mice",
    "Accordion",
    "Mandolin",
)
"""In the order in which the lists name them first."""

SPECTROGRAMS = {"c2kd": C2KD_EVENTS, "small": SMALL}
FILES = {"train": "trainSet.txt", "val": "valSet.txt", "test": "testSet.txt"}
HEADER = ["Category", "VideoID", "Quality", "StartTime", "EndTime"]
_VIDEO = re.compile(r"[\w-]{11}")


def read_lists(folder: Path, *, segment: bool, duplicates: bool) -> Listing:
    """Reads ``trainSet.txt``, ``valSet.txt`` and ``testSet.txt``.

    Args:
        folder: The user's folder.
        segment: Keep only the seconds of the event.
        duplicates: Keep the second row of a video with two events in one list.

    Raises:
        ConfigError: If a list or folder is missing.
    """
    clip_set = ave_set(segment=segment, duplicates=duplicates)
    lists.require(clip_set, folder, "AVE", *FILES.values())

    def clips() -> Iterator[Clip | Defect]:
        for split, file in FILES.items():
            videos: set[str] = set()
            for place, row in lists.rows(folder / file, delimiter="&"):
                if row == HEADER:
                    continue
                times = row[3:5]
                if (
                    len(row) != 5
                    or not _VIDEO.fullmatch(row[1])
                    or not all(time.isdecimal() for time in times)
                ):
                    yield lists.malformed(place, row, "Church bell&RUhOCu3LNXM&good&0&10")
                    continue
                video = row[1]
                if row[0] not in CLASS_NAMES:
                    yield Defect("unknown label", video, f"{row[0]!r} is not a class of AVE")
                elif duplicates or video not in videos:
                    label, (start, end) = CLASS_NAMES.index(row[0]), map(int, times)
                    path = f"AVE/{video}.mp4"
                    yield Clip(
                        f"{video}_{start}_{end}_{label}",
                        label,
                        split,
                        video,
                        path,
                        path,
                        (start, end) if segment else None,
                    )
                videos.add(video)

    return lists.without_repetition(clips())


def write_lists(folder: Path, count: int) -> None:
    """Writes the three lists for generated clips; see `ClipSet`."""
    (folder / "AVE").mkdir()
    numbers = itertools.count()
    for split, of_class in split_counts(count, "val", "test").items():
        rows = [
            f"{name}&made{next(numbers):07d}&good&0&2\n"
            for _ in range(of_class)
            for name in CLASS_NAMES
        ]
        (folder / FILES[split]).write_text("".join(rows), encoding="utf-8")


def ave_set(*, segment: bool = True, duplicates: bool = True) -> ClipSet:
    """Makes the metadata of AVE; see `read_lists`."""
    return ClipSet(
        name="ave",
        class_names=CLASS_NAMES,
        layout="the folder AVE_Dataset of YapengTian/AVE-ECCV18, with AVE/, trainSet.txt, "
        "valSet.txt and testSet.txt",
        read_lists=functools.partial(read_lists, segment=segment, duplicates=duplicates),
        write_lists=write_lists,
        counts={
            "train": (3339 if duplicates else 3312,),
            "val": (402 if duplicates else 401,),
            "test": (402,),
        },
        min_frames=10,
    )


def ave(
    *,
    data_dir: Path,
    manual_dir: str = "",
    spectrogram: str = "c2kd",
    segment: bool = True,
    duplicates: bool = True,
    strict: bool = False,
    num_frames: int = 1,
    image_size: int = 224,
    image_augment: bool = True,
    num_masks: int = 0,
    time_mask: int = 100,
    frequency_mask: int = 27,
    generated: int = 0,
) -> Dataset:
    """Loads AVE: 3,339 training, 402 validation and 402 test clips of 28 events.

    Ten videos are in the training and the validation list, and eight in the training and the test
    list, with other events.

    Args:
        data_dir: Folder of the prepared records.
        manual_dir: The downloaded folder, see `ave_set`; not needed once records are prepared.
        spectrogram: ``c2kd`` (257 x 1004) or ``small`` (129 x 65, for trials).
        segment: Keep only the seconds of the event, as huofushuo/C2KD does.
        duplicates: Keep the second row of a video with two events in one list; without, 3,312, 401
            and 402 clips are left.
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
        ave_set(segment=segment, duplicates=duplicates),
        choose_spectrogram(SPECTROGRAMS, spectrogram),
        variant=_variant(segment=segment, duplicates=duplicates),
        data_dir=data_dir,
        manual_dir=manual_dir,
        generated=generated,
        strict=strict,
        num_frames=num_frames,
        image_size=image_size,
        image_augment=image_augment,
        num_masks=num_masks,
        time_mask=time_mask,
        frequency_mask=frequency_mask,
    )


def check(
    *,
    data_dir: Path,
    manual_dir: str = "",
    spectrogram: str = "c2kd",
    segment: bool = True,
    duplicates: bool = True,
) -> Report:
    """Checks a downloaded AVE; options as of `ave`."""
    return check_files(
        ave_set(segment=segment, duplicates=duplicates),
        manual_dir=manual_dir,
        data_dir=data_dir,
        sample_rate=choose_spectrogram(SPECTROGRAMS, spectrogram).sample_rate,
        variant=_variant(segment=segment, duplicates=duplicates),
    )


def _variant(*, segment: bool, duplicates: bool) -> str:
    return ("" if segment else "whole") + ("" if duplicates else "single")
