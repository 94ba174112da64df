"""Batches from a split by Grain: fixed by (seed, epoch, position), sharded by process."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.data.host import AsEvaluated, HostStage
from fdcmkd_jax.data.input import Assemble, InputOptions
from fdcmkd_jax.types import Batch

LOOKED_UP = 2**16
"""Number of examples from which Grain's own shuffle is used. It looks each position up, in about
65,536 / (the number of examples) rounds: longer than it takes to read one of a few hundred."""


class TrainBatches:
    """Training batches without end; see `train_batches`.

    Args:
        stream: Stacked examples by position.
        options: See `InputOptions`.
        make_batch: Makes a batch of stacked examples.
    """

    def __init__(
        self, stream: grain.MapDataset, options: InputOptions, make_batch: Assemble
    ) -> None:
        self._stream, self._options, self._make_batch = stream, options, make_batch
        self._next_index = 0
        self._reader: grain.DatasetIterator | None = None

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> Any:
        if self._reader is None:
            self._reader = self._open()
        examples = next(self._reader)
        self._next_index += 1
        return self._make_batch(examples)

    def get_state(self) -> dict[str, int]:
        """Returns the position, as plain data: the number of batches read, and nothing else."""
        return {"next_index": self._next_index}

    def set_state(self, position: Mapping[str, int]) -> None:
        """Continues at a position, under any number of threads and worker processes."""
        self.close()
        self._next_index = position["next_index"]

    def close(self) -> None:
        """Stops threads and worker processes."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _open(self) -> grain.DatasetIterator:
        stream = self._stream[self._next_index :].to_iter_dataset(_reading(self._options))
        count = self._options.num_workers
        if count:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # Grain reads a flag of its own for its workers.
            ahead = max(1, self._options.prefetch_batches // count)
            stream = stream.mp_prefetch(grain.MultiprocessingOptions(count, ahead))
        return iter(stream)


def train_batches(
    source: Source, options: InputOptions, make_batch: Assemble, stage: HostStage, *, seed: int
) -> TrainBatches:
    """Streams training batches without end, reshuffled each epoch.

    Args:
        source: The split.
        options: See `InputOptions`.
        make_batch: Makes a batch of stacked examples; see `assemble`.
        stage: Makes an example of each record; the examples' dictionaries are stacked.
        seed: Seed of order and augmentation.

    Returns:
        An iterator over batches of ``N / processes`` rows, to be closed after use.
    """
    records = grain.MapDataset.source(source).seed(seed)
    epoch = _Shuffled(records, seed) if len(source) < LOOKED_UP else records.shuffle()
    if stage.changes_training:
        epoch = epoch.random_map(_InTraining(stage))
    epoch = _whole_batches(epoch, source, options.batch_size, options.drop_remainder)
    stream = _local_batches(epoch, options.batch_size).repeat()
    return TrainBatches(stream, options, make_batch)


def eval_batches(
    source: Source,
    batch_size: int,
    make_batch: Assemble,
    stage: HostStage,
    options: InputOptions,
) -> Iterator[Batch]:
    """Reads a split once in order; the last batch is padded and masked.

    Args:
        source: The split.
        batch_size: N, over all processes.
        make_batch: Makes a batch of stacked examples; see `assemble`.
        stage: Makes an example of each record, as evaluation sees it.
        options: Threads and batches that read ahead.

    Yields:
        Batches of ``N / processes`` rows.
    """
    ordered = grain.MapDataset.source(_Labelled(AsEvaluated(source, stage)))
    batches = _local_batches(_whole_batches(ordered, source, batch_size, False), batch_size)
    with contextlib.closing(iter(batches.to_iter_dataset(_reading(options)))) as reader:
        yield from map(make_batch, reader)


def _reading(options: InputOptions) -> grain.ReadOptions:
    """Returns how one process reads ahead."""
    return grain.ReadOptions(
        num_threads=options.num_threads, prefetch_buffer_size=options.prefetch_batches
    )


class _Labelled:
    """A split with every label shown."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        return {**self._source[index], "labelled": np.True_}


class _Shuffled(grain.MapDataset):
    """A shuffle that draws the order of each epoch as a whole."""

    def __init__(self, parent: grain.MapDataset, seed: int) -> None:
        super().__init__(parent)
        self._source, self._seed = parent, seed

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        epoch, place = divmod(index, len(self))
        row = _order(len(self), self._seed, epoch)[place]
        return self._source[epoch * len(self) + int(row)]


@functools.lru_cache(maxsize=32)  # More epochs than reading ahead spans.
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    """Draws an epoch's order."""
    return np.random.default_rng((seed, epoch)).permutation(length).astype(np.uint16)


class _InTraining(grain.transforms.RandomMap):
    """Makes the examples of training."""

    def __init__(self, stage: HostStage) -> None:
        self._stage = stage

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """Returns the example of a record."""
        return self._stage(element, rng)


def _whole_batches(
    dataset: grain.MapDataset, source: Source, batch_size: int, drop_remainder: bool
) -> grain.MapDataset:
    """Cuts or pads the epoch to a multiple of the batch and adds ``mask`` to each example.

    Padding comes before sharding, so that every process counts the same number of batches.
    """
    masked = dataset.map(lambda example: {**example, "mask": np.True_})
    rest = len(source) % batch_size
    if not rest:
        return masked
    if drop_remainder:
        return masked[: len(source) - rest]
    blank = jax.tree.map(np.zeros_like, masked[0])
    return grain.MapDataset.concatenate(
        [masked, grain.MapDataset.source([blank] * (batch_size - rest))]
    )


def _local_batches(dataset: grain.MapDataset, batch_size: int) -> grain.MapDataset:
    """Selects this process's share of each batch."""
    share = dataset[jax.process_index() :: jax.process_count()]
    return share.batch(batch_size // jax.process_count(), drop_remainder=True)
