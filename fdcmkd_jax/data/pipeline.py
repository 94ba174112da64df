"""From a split to batches by Grain: fixed by (seed, epoch, position), sharded by process."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grain
import jax
import numpy as np

from fdcmkd_jax.data import augment
from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.types import Batch


@dataclass(frozen=True)
class Options:
    """How a split becomes batches.

    Attributes:
        batch_size: N, over all devices and processes.
        drop_remainder: Leave an epoch's last, smaller batch out; otherwise it is padded and masked.
        in_memory: Read each split once and keep it decoded.
        num_threads: Threads that read ahead.
        augment: Per modality, an augmentation's name and keywords.
    """

    batch_size: int
    drop_remainder: bool = True
    in_memory: bool = False
    num_threads: int = 1
    augment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_threads < 1:
            raise ValueError(
                "batch_size and num_threads must be positive, "
                f"got {self.batch_size} and {self.num_threads}."
            )


def steps_per_epoch(source: Source, options: Options) -> int:
    """Batches in an epoch.

    Raises:
        ValueError: If the split is smaller than a batch and remainders are dropped.
    """
    whole, rest = divmod(len(source), options.batch_size)
    if not whole and options.drop_remainder:
        raise ValueError(
            f"batch_size is {options.batch_size}, but there are only {len(source)} training "
            "examples; use a smaller batch or drop_remainder=False."
        )
    return whole if options.drop_remainder else whole + bool(rest)


def train_batches(source: Source, options: Options, *, seed: int) -> grain.DatasetIterator:
    """An endless stream of training batches, reshuffled each epoch.

    Args:
        source: The split; its examples' dictionaries are stacked.
        options: See `Options`.
        seed: Of order and augmentation.

    Returns:
        An iterator over dictionaries of arrays ``[N / processes, ...]`` with a ``mask``. Its
        ``get_state`` is JSON-able and depends on the number of batches read, nothing else.

    Raises:
        ConfigError: If an augmentation is unknown or refuses a value.
    """
    shuffled = _Shuffled(grain.MapDataset.source(source).seed(seed), seed)
    epoch = _whole_batches(shuffled, source, options.batch_size, options.drop_remainder)
    changes = {modality: augment.make(**keywords) for modality, keywords in options.augment.items()}
    if changes:
        epoch = epoch.random_map(_Augment(changes))
    stream = _local_batches(epoch, options.batch_size).repeat()
    return iter(
        stream.to_iter_dataset(
            grain.ReadOptions(num_threads=options.num_threads, prefetch_buffer_size=2)
        )
    )


def eval_batches(source: Source, batch_size: int) -> Iterator[Batch]:
    """One pass over a split in order; the last batch is padded and masked.

    Args:
        source: The split.
        batch_size: N, over all processes.

    Yields:
        Dictionaries of arrays ``[N / processes, ...]`` with a ``mask``.
    """
    ordered = grain.MapDataset.source(_Labelled(source))
    batches = _local_batches(_whole_batches(ordered, source, batch_size, False), batch_size)
    yield from (batches[index] for index in range(len(batches)))


class _Labelled:
    """A split all of whose labels are shown."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        return {**self._source[index], "labelled": np.True_}


class _Shuffled(grain.MapDataset):
    """Grain's shuffle, whose places are looked up once for all runs of a process.

    A look-up takes 65,536 / (the number of examples) rounds: for a few hundred examples longer than
    reading one.
    """

    def __init__(self, parent: grain.MapDataset, seed: int) -> None:
        super().__init__(parent)
        self._source, self._seed = parent, seed

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        return self._source[_place(len(self), self._seed, index)]


@functools.lru_cache(maxsize=2**18)
def _place(length: int, seed: int, index: int) -> int:
    """Which example is the ``index``-th, counted over all epochs."""
    return _order(length, seed)[index]


@functools.lru_cache(maxsize=32)
def _order(length: int, seed: int) -> grain.MapDataset:
    return grain.MapDataset.range(length).seed(seed).shuffle()


class _Augment(grain.transforms.RandomMap):
    """Changes some modalities of an example, each by its own augmentation."""

    def __init__(self, changes: Mapping[str, augment.Augmentation]) -> None:
        self._changes = changes

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """The example with fresh arrays in the changed modalities."""
        changed = {name: change(element[name], rng) for name, change in self._changes.items()}
        return {**element, **changed}


def _whole_batches(
    dataset: grain.MapDataset, source: Source, batch_size: int, drop_remainder: bool
) -> grain.MapDataset:
    """The epoch cut or padded to a multiple of the batch, each example with its ``mask``.

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
    """This process's share of each batch."""
    share = dataset[jax.process_index() :: jax.process_count()]
    return share.batch(batch_size // jax.process_count(), drop_remainder=True)
