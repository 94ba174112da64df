"""Options of the input pipeline, and the batch it makes; `data.stream` reads batches by Grain."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fdcmkd_jax.data.base import Source
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
    modalities: Collection[str],
    teacher_modalities: Collection[str] = (),
) -> Batch:
    """Makes the batch that the steps read; the last operation of the pipeline.

    Args:
        examples: Stacked examples ``[N, ...]``: the modalities, ``label``, ``labelled``, ``mask``,
            ``id``, and, optionally, ``partner`` (the modalities of the example that the teacher
            reads instead) and ``teacher`` (teachers' outputs by modality, see `types.to_record`).
        task: Makes the targets.
        modalities: The modalities that the trained or evaluated models read.
        teacher_modalities: The modalities of teachers that run in the step.

    Returns:
        A `Batch`.
    """
    outputs = examples.get("teacher")
    read_by_teacher = examples.get("partner", examples)
    return Batch(
        inputs={name: examples[name] for name in modalities},
        teacher_inputs={name: read_by_teacher[name] for name in teacher_modalities},
        teacher_outputs=None if outputs is None else from_record(outputs),
        targets=task.targets(
            examples["label"],
            labelled=examples["labelled"],
            mask=examples["mask"],
            id=examples["id"],
        ),
    )
