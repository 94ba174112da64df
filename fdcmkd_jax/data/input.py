"""Batches from a split by Grain: fixed by (seed, epoch, position), sharded by process."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.data.host import AsEvaluated, HostStage
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
        in_memory: Read each split once and keep its records.
        num_threads: Threads that read ahead, in each process that reads.
        num_workers: Processes that read ahead for training; 0 reads in the training process.
        prefetch_batches: Batches that are read ahead, at least one a thread.
        augment: Per modality, an augmentation's name and keywords.
    """

    batch_size: int
    drop_remainder: bool = True
    in_memory: bool = False
    num_threads: int = 1
    num_workers: int = 0
    prefetch_batches: int = 16
    augment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_threads", "prefetch_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.prefetch_batches < self.num_threads:
            raise ValueError(
                f"prefetch_batches ({self.prefetch_batches}) must be at least num_threads "
                f"({self.num_threads}): a thread reads one batch at a time."
            )
        if self.num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {self.num_workers}.")

    @property
    def reading(self) -> grain.ReadOptions:
        """Threads and buffer of one process that reads."""
        return grain.ReadOptions(
            num_threads=self.num_threads, prefetch_buffer_size=self.prefetch_batches
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
        stream = self._stream[self._next_index :].to_iter_dataset(self._options.reading)
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
    epoch: grain.MapDataset = _Shuffled(grain.MapDataset.source(source).seed(seed), seed)
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
    reading: grain.ReadOptions,
) -> Iterator[Batch]:
    """Reads a split once in order; the last batch is padded and masked.

    Args:
        source: The split.
        batch_size: N, over all processes.
        make_batch: Makes a batch of stacked examples; see `assemble`.
        stage: Makes an example of each record, as evaluation sees it.
        reading: Threads and batches that read ahead.

    Yields:
        Batches of ``N / processes`` rows.
    """
    ordered = grain.MapDataset.source(_Labelled(AsEvaluated(source, stage)))
    batches = _local_batches(_whole_batches(ordered, source, batch_size, False), batch_size)
    with contextlib.closing(iter(batches.to_iter_dataset(reading))) as reader:
        yield from map(make_batch, reader)


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
