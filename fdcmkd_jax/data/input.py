"""Batches from a split by Grain: fixed by (seed, epoch, position), sharded by process."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grain
import jax
import numpy as np

from fdcmkd_jax.data import augment
from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.tasks import Task
from fdcmkd_jax.types import Batch, from_record

Assemble = Callable[[Mapping[str, Any]], Batch]
"""Makes a `Batch` of stacked examples; see `assemble`."""


@dataclass(frozen=True)
class InputOptions:
    """Options of the input pipeline.

    Attributes:
        batch_size: N, over all devices and processes.
        drop_remainder: Drop the last, smaller batch of an epoch; otherwise it is padded and masked.
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


def steps_per_epoch(source: Source, options: InputOptions) -> int:
    """Counts the batches in an epoch.

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


def assemble(
    examples: Mapping[str, Any],
    *,
    task: Task,
    modality: str,
    teacher_modalities: tuple[str, ...] = (),
) -> Batch:
    """Makes the batch that the steps read; the last operation of the pipeline.

    Args:
        examples: Stacked examples ``[N, ...]``: the modalities, ``label``, ``labelled``, ``mask``,
            ``id``, and, optionally, ``partner`` (the modalities of the example that the teacher
            reads instead) and ``teacher`` (the teacher's outputs, see `types.to_record`).
        task: Makes the targets.
        modality: The modality that the trained or evaluated model reads.
        teacher_modalities: The modalities that teachers read.

    Returns:
        A `Batch`. Where the teacher's outputs are given, it holds no teacher inputs.
    """
    outputs = examples.get("teacher")
    read_by_teacher = examples.get("partner", examples)
    names = teacher_modalities if outputs is None else ()
    return Batch(
        inputs={modality: examples[modality]},
        teacher_inputs={name: read_by_teacher[name] for name in names},
        teacher_outputs=None if outputs is None else from_record(outputs),
        targets=task.targets(
            examples["label"],
            labelled=examples["labelled"],
            mask=examples["mask"],
            id=examples["id"],
        ),
    )


def train_batches(
    source: Source, options: InputOptions, make_batch: Assemble, *, seed: int
) -> grain.DatasetIterator:
    """Streams training batches without end, reshuffled each epoch.

    Args:
        source: The split; its examples' dictionaries are stacked.
        options: See `InputOptions`.
        make_batch: Makes a batch of stacked examples; see `assemble`.
        seed: Seed of order and augmentation.

    Returns:
        An iterator over batches of ``N / processes`` rows. Its ``get_state`` is JSON-able and
        depends on nothing but the number of batches read.

    Raises:
        ConfigError: If an augmentation is unknown or refuses a value.
    """
    shuffled = _Shuffled(grain.MapDataset.source(source).seed(seed), seed)
    epoch = _whole_batches(shuffled, source, options.batch_size, options.drop_remainder)
    changes = {modality: augment.make(**keywords) for modality, keywords in options.augment.items()}
    if changes:
        epoch = epoch.random_map(_Augment(changes))
    stream = _local_batches(epoch, options.batch_size).map(make_batch).repeat()
    return iter(
        stream.to_iter_dataset(
            grain.ReadOptions(num_threads=options.num_threads, prefetch_buffer_size=2)
        )
    )


def eval_batches(source: Source, batch_size: int, make_batch: Assemble) -> Iterator[Batch]:
    """Reads a split once in order; the last batch is padded and masked.

    Args:
        source: The split.
        batch_size: N, over all processes.
        make_batch: Makes a batch of stacked examples; see `assemble`.

    Yields:
        Batches of ``N / processes`` rows.
    """
    ordered = grain.MapDataset.source(_Labelled(source))
    batches = _local_batches(_whole_batches(ordered, source, batch_size, False), batch_size)
    yield from (make_batch(batches[index]) for index in range(len(batches)))


class _Labelled:
    """A split with every label shown."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        return {**self._source[index], "labelled": np.True_}


class _Shuffled(grain.MapDataset):
    """Grain's shuffle with its positions looked up once for all runs of a process.

    A look-up takes 65,536 / (the number of examples) rounds. For a few hundred examples that takes
    longer than reading one.
    """

    def __init__(self, parent: grain.MapDataset, seed: int) -> None:
        super().__init__(parent)
        self._source, self._seed = parent, seed

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        return self._source[_position(len(self), self._seed, index)]


@functools.lru_cache(maxsize=2**18)
def _position(length: int, seed: int, index: int) -> int:
    """Returns the position of the ``index``-th example, counted over all epochs."""
    return _order(length, seed)[index]


@functools.lru_cache(maxsize=32)
def _order(length: int, seed: int) -> grain.MapDataset:
    return grain.MapDataset.range(length).seed(seed).shuffle()


class _Augment(grain.transforms.RandomMap):
    """Changes some modalities of an example, each by an augmentation of its own."""

    def __init__(self, changes: Mapping[str, augment.Augmentation]) -> None:
        self._changes = changes

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """Returns the example with new arrays in the changed modalities."""
        changed = {name: change(element[name], rng) for name, change in self._changes.items()}
        return {**element, **changed}


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
