"""Batches from a split by Grain: fixed by (seed, epoch, position), sharded by process."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
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
    size = len(source)
    epoch = _Batches(
        functools.partial(_train_example, source, stage, seed),
        _Shuffled(size, seed),
        size,
        options.batch_size,
        options.drop_remainder,
    )
    return TrainBatches(epoch.repeat(), options, make_batch)


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
    example = functools.partial(_eval_example, AsEvaluated(source, stage))
    batches = _Batches(example, _in_order, len(source), batch_size, drop_remainder=False)
    with contextlib.closing(iter(batches.to_iter_dataset(_reading(options)))) as reader:
        yield from map(make_batch, reader)


def _reading(options: InputOptions) -> grain.ReadOptions:
    """Returns how one process reads ahead."""
    return grain.ReadOptions(
        num_threads=options.num_threads, prefetch_buffer_size=options.prefetch_batches
    )


class _Batches(grain.MapDataset):
    """This process's share of each batch, stacked; padding is zeros outside ``mask``.

    Args:
        example: Returns an example by its row and its place in all epochs.
        order: Returns the rows at some places of an epoch, ``(epoch, places) -> rows``.
        size: Number of examples.
        batch_size: N, over all processes.
        drop_remainder: Drop the last, smaller batch; otherwise it is padded.
    """

    def __init__(
        self,
        example: Callable[[int, int], Example],
        order: Callable[[int, np.ndarray], np.ndarray],
        size: int,
        batch_size: int,
        drop_remainder: bool,
    ) -> None:
        super().__init__()
        self._example, self._order = example, order
        self._size, self._batch_size = size, batch_size
        self._count = size // batch_size if drop_remainder else -(-size // batch_size)
        # Here, and not in a worker, which is not one of JAX's processes.
        self._share = np.arange(jax.process_index(), batch_size, jax.process_count())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        epoch, number = divmod(index, self._count)
        places = number * self._batch_size + self._share
        mask = places < self._size
        # A share that is padding alone still has the shapes of an example.
        rows = self._order(epoch, places[mask]).tolist() or [0]
        in_all_epochs = (index * self._batch_size + self._share).tolist()
        examples = list(map(self._example, rows, in_all_epochs))

        def stack(*values: Any) -> np.ndarray:
            stacked = np.stack(values)
            if mask.all():
                return stacked
            padded = np.zeros((len(mask), *stacked.shape[1:]), stacked.dtype)
            padded[mask] = stacked[: mask.sum()]
            return padded

        return {**jax.tree.map(stack, *examples), "mask": mask}


def _in_order(epoch: int, places: np.ndarray) -> np.ndarray:
    del epoch
    return places


class _Shuffled:
    """The order of training, drawn anew for each epoch.

    Args:
        size: Number of examples.
        seed: Seed of the order.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        # Looks each place up, and so holds no order in memory.
        self._large = grain.MapDataset.range(size).seed(seed).shuffle()

    def __call__(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Returns the rows at some places of an epoch."""
        if self._size < LOOKED_UP:
            return _order(self._size, self._seed, epoch)[places]
        return np.array([self._large[epoch * self._size + int(place)] for place in places])


@functools.lru_cache(maxsize=32)  # More epochs than reading ahead spans.
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    """Draws an epoch's order."""
    return np.random.default_rng((seed, epoch)).permutation(length).astype(np.uint16)


def _train_example(source: Source, stage: HostStage, seed: int, row: int, place: int) -> Example:
    """Returns an example as training shows it."""
    record = source[row]
    if not stage.changes_training:
        return record
    # By its place an example draws the same on any number of processes.
    return stage(record, np.random.default_rng((seed, place)))


def _eval_example(source: AsEvaluated, row: int, place: int) -> Example:
    """Returns an example as evaluation shows it, its label included."""
    del place
    return {**source[row], "labelled": np.True_}
