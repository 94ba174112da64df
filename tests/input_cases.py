"""A small split, and batches of it in training and in evaluation."""

import itertools

import jax
import numpy as np
import raw_data

from fdcmkd_jax.data import augment
from fdcmkd_jax.data import stream as streams
from fdcmkd_jax.data.host import HostStage
from fdcmkd_jax.data.input import InputOptions
from fdcmkd_jax.data.pairing import View

SIZE = 22
AUGMENT = {
    "image": {"name": "shift", "pixels": 2},
    "audio": {"name": "mask_frames", "max_frames": 3},
}


def make_split(size=SIZE):
    """Examples without zeros, told apart by `id`."""
    random = np.random.default_rng(0)
    return [
        {
            "audio": random.uniform(1, 2, size=(5, 3)).astype(np.float32),
            "image": random.uniform(1, 2, size=(6, 6, 1)).astype(np.float32),
            "label": np.int32(row % 3),
            "id": np.int32(100 + row),
            "labelled": np.True_,
        }
        for row in range(size)
    ]


SPLIT = make_split()
IDS = [int(example["id"]) for example in SPLIT]
RAW = View(raw_data.records("train", 44), kind="mismatched")


def as_stacked(examples):
    """Stacked examples as they are, in place of a `Batch`."""
    return examples


PLAIN = HostStage(None, ("image",), ("audio",))


def stage_of(changes):
    """Augments both modalities, of which a teacher reads the sound."""
    made = {modality: augment.make(**options) for modality, options in changes.items()}
    return HostStage(None, ("image",), ("audio",), made)


def stream(*, seed=0, source=SPLIT, batch_size=4, **options):
    options = InputOptions(batch_size=batch_size, **options)
    stage = stage_of(options.augment)
    return streams.train_batches(source, options, as_stacked, stage, seed=seed)


def evaluated(source, batch_size, num_threads=1):
    options = InputOptions(batch_size, num_threads=num_threads)
    return list(streams.eval_batches(source, batch_size, as_stacked, PLAIN, options))


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def ids(batches):
    """The `id` of every real row, in order."""
    return [int(i) for batch in batches for i in batch["id"][batch["mask"]]]


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def use_process(patch, index, count=2):
    """Lets the stream believe that it runs in one of several processes."""
    patch.setattr(streams.jax, "process_index", lambda: index)
    patch.setattr(streams.jax, "process_count", lambda: count)
