"""A data set in three stages: stored bytes, a transform on the host, a function on the device."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from builders import NUM_CLASSES

from fdcmkd_jax.data import Dataset, Preprocessing
from fdcmkd_jax.data.index import Index, Indexed

SIDE, SAMPLES = 8, 24


def records(split: str, size: int) -> list[dict]:
    """Sounds of unlike lengths and pictures as bytes, by class with noise."""
    patterns = np.random.default_rng(7)
    sounds = patterns.integers(-9000, 9000, size=(NUM_CLASSES, 60))
    pictures = patterns.integers(60, 190, size=(NUM_CLASSES, 10, 10, 2))
    noise = np.random.default_rng(len(split))
    rows = []
    for row in range(size):
        label = row % NUM_CLASSES
        length = int(noise.integers(25, 28))
        sound = sounds[label, :length] + noise.integers(-2000, 2000, length)
        picture = pictures[label] + noise.integers(-40, 40, size=(10, 10, 2))
        rows.append(
            {
                "sound": sound.astype(np.int16),
                "picture": picture.astype(np.uint8).tobytes(),
                "label": np.int32(label),
                "id": np.int32(1000 * len(split) + row),
            }
        )
    return rows


def transform(record, random, modalities):
    """Cuts sound and picture: at random in training, from the middle in evaluation."""
    picture = np.frombuffer(record["picture"], np.uint8).reshape(10, 10, 2)
    spare = len(record["sound"]) - SAMPLES
    start, top, left = (spare // 2, 1, 1)
    if random is not None:
        start, top, left = (int(random.integers(0, size + 1)) for size in (spare, 2, 2))
    example = {"label": record["label"], "id": record["id"]}
    if "audio" in modalities:
        example["audio"] = {"sound": record["sound"][start : start + SAMPLES]}
    if "image" in modalities:
        example["image"] = {"picture": picture[top : top + SIDE, left : left + SIDE]}
    return example


def normalize_sound(raw):
    """Makes ``[N, 6, 4, 1]`` of ``sound [N, 24]``."""
    return (raw["sound"] / 8192).astype(jnp.float32).reshape(-1, 6, 4, 1)


def normalize_picture(raw):
    """Makes ``[N, 8, 8, 2]``, float32, of ``picture``, uint8."""
    return (raw["picture"].astype(jnp.float32) - 128) / 64


PREPROCESSING = {
    "audio": Preprocessing({"sound": ((SAMPLES,), "int16")}, normalize_sound, {}),
    "image": Preprocessing({"picture": ((SIDE, SIDE, 2), "uint8")}, normalize_picture, {}),
}


def raw_data(*, data_dir: Path, seed: int) -> Dataset:
    """The splits, whose draw does not depend on the seed."""
    del data_dir, seed
    splits = {}
    for name, size in (("train", 44), ("val", 21), ("test", 27)):
        rows = records(name, size)
        index = Index.of(
            np.array([row["label"] for row in rows]), np.array([row["id"] for row in rows])
        )
        splits[name] = Indexed(rows, index)
    return Dataset(
        ("audio", "image"),
        ("a", "b", "c"),
        splits,
        PREPROCESSING,
        transform,
        augmented=("audio", "image"),
        seeded_splits=False,
    )
