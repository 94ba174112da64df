"""VGGSound-50: the 50 classes of VGGSound that huofushuo/C2KD chose."""

import csv
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
from fdcmkd_jax.data.clips.spectrogram import C2KD_VGGSOUND, SMALL

TRAIN_COUNTS = {
    "waterfall burbling": 464,
    "playing tennis": 340,
    "alarm clock ringing": 281,
    "wind noise": 872,
    "playing bongo": 870,
    "playing congas": 415,
    "subway, metro, underground": 950,
    "playing acoustic guitar": 1000,
    "dog growling": 776,
    "horse neighing": 537,
    "pigeon, dove cooing": 1000,
    "playing trumpet": 785,
    "footsteps on snow": 201,
    "playing accordion": 1000,
    "turkey gobbling": 596,
    "playing clarinet": 999,
    "dog whimpering": 411,
    "car engine idling": 320,
    "people farting": 504,
    "people marching": 767,
    "helicopter": 1000,
    "cell phone buzzing": 150,
    "cat meowing": 538,
    "playing double bass": 760,
    "people hiccup": 344,
    "playing snare drum": 937,
    "baby laughter": 831,
    "people coughing": 403,
    "plastic bottle crushing": 214,
    "goose honking": 738,
    "dog barking": 717,
    "smoke detector beeping": 171,
    "people sniggering": 841,
    "people eating crisps": 392,
    "thunder": 275,
    "ferret dooking": 189,
    "firing muskets": 367,
    "cow lowing": 149,
    "eating with cutlery": 478,
    "playing timbales": 537,
    "people slapping": 161,
    "pumping water": 149,
    "playing tuning fork": 150,
    "tornado roaring": 306,
    "dog howling": 879,
    "strike lighter": 179,
    "blowtorch igniting": 200,
    "sea lion barking": 161,
    "cutting hair with electric trimmers": 218,
    "otter growling": 313,
}
"""Training clips of each class, in the order in which the list names them first."""

CLASS_NAMES = tuple(TRAIN_COUNTS)
TEST_COUNT = 50
SPECTROGRAMS = {"c2kd": C2KD_VGGSOUND, "small": SMALL}
FILES = {"train": "train_tiny.csv", "test": "test_tiny.csv"}
FOLDERS = ("video", "train-videos", "test-videos", ".")
_FILE = re.compile(r"([\w-]{11})_(\d{6})\.mp4")


def read_lists(folder: Path) -> Listing:
    """Reads ``train_tiny.csv`` and ``test_tiny.csv``, or the 50 classes of ``vggsound.csv``.

    A row holds id, start, class and split; or a file's name and the class. Clips are looked for in
    ``video``, ``train-videos``, ``test-videos`` and the folder itself.

    Raises:
        ConfigError: If there is no list.
    """
    full = not (folder / FILES["train"]).exists() and (folder / "vggsound.csv").exists()
    files = {"": "vggsound.csv"} if full else FILES
    lists.require(VGGSOUND50, folder, *files.values())
    places = {
        name: f"{place}/{name}"
        for place in reversed(FOLDERS)  # So that a clip in several is taken from the first.
        for name in lists.names_in(folder / place)
    }

    def clips() -> Iterator[Clip | Defect]:
        for split, file in files.items():
            for place, columns in lists.rows(folder / file):
                row = columns
                if len(row) == 4 and row[1].isdecimal():
                    row = [f"{row[0]}_{int(row[1]):06d}.mp4", row[2], row[3]]
                match = _FILE.fullmatch(row[0]) if len(row) in (2, 3) else None
                if match is None or (full and row[-1] not in ("train", "test")):
                    yield lists.malformed(place, columns, "--0PQM4-hqg,30,waterfall burbling,train")
                elif row[1] in TRAIN_COUNTS:
                    path = places.get(row[0], f"video/{row[0]}")
                    label = CLASS_NAMES.index(row[1])
                    name = row[0].removesuffix(".mp4")
                    yield Clip(name, label, split or row[-1], match[1], path, path)
                elif not full:
                    yield Defect("unknown label", row[0], f"{row[1]!r} is not one of the 50")

    return lists.without_repetition(clips())


def write_lists(folder: Path, count: int) -> None:
    """Writes both lists for generated clips; see `ClipSet`."""
    (folder / "video").mkdir()
    numbers = itertools.count()
    for split, of_class in split_counts(count, "test").items():
        with (folder / FILES[split]).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(
                (f"made{next(numbers):07d}", 30, name, split)
                for _ in range(of_class)
                for name in CLASS_NAMES
            )


VGGSOUND50 = ClipSet(
    name="vggsound50",
    class_names=CLASS_NAMES,
    layout="a folder with train_tiny.csv and test_tiny.csv of huofushuo/C2KD "
    "(vggsound/datasplit.zip) or vggsound.csv of hche11/VGGSound, and the clips "
    "ID_START.mp4 in video/",
    read_lists=read_lists,
    write_lists=write_lists,
    counts={"train": tuple(TRAIN_COUNTS.values()), "test": (TEST_COUNT,) * len(CLASS_NAMES)},
    min_frames=4,
)


def vggsound50(
    *,
    data_dir: Path,
    manual_dir: str = "",
    spectrogram: str = "c2kd",
    validation: float = 0.1,
    strict: bool = False,
    num_frames: int = 3,
    image_size: int = 224,
    image_augment: bool = True,
    num_masks: int = 0,
    time_mask: int = 100,
    frequency_mask: int = 13,
    generated: int = 0,
) -> Dataset:
    """Loads VGGSound-50: 25,835 training and 2,500 test clips of 50 classes, less absent ones.

    Five of the ten seconds are read: at a random place in training, in the middle in evaluation.
    The validation split is drawn from the training part by a hash of the videos' ids, the same for
    every seed.

    Args:
        data_dir: Folder of the prepared records.
        manual_dir: The downloaded folder, see `VGGSOUND50`; not needed once records are prepared.
        spectrogram: ``c2kd`` (129 x 626) or ``small`` (129 x 65, for trials).
        validation: Share of the training clips kept for validation.
        strict: Refuse a set with absent or defective clips, instead of skipping them with a
            warning.
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
        VGGSOUND50,
        choose_spectrogram(SPECTROGRAMS, spectrogram),
        data_dir=data_dir,
        manual_dir=manual_dir,
        generated=generated,
        strict=strict,
        validation=validation,
        whole_groups=True,
        time_crop=True,
        num_frames=num_frames,
        image_size=image_size,
        image_augment=image_augment,
        num_masks=num_masks,
        time_mask=time_mask,
        frequency_mask=frequency_mask,
    )


def check(*, data_dir: Path, manual_dir: str = "", spectrogram: str = "c2kd") -> Report:
    """Checks a downloaded VGGSound-50; options as of `vggsound50`."""
    return check_files(
        VGGSOUND50,
        manual_dir=manual_dir,
        data_dir=data_dir,
        sample_rate=choose_spectrogram(SPECTROGRAMS, spectrogram).sample_rate,
    )
