"""One model to train, the options of training, and the parts that all models of a run share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flax import linen as nn

from fdcmkd_jax.data import augment
from fdcmkd_jax.data.base import Source, Transform
from fdcmkd_jax.data.host import HostStage
from fdcmkd_jax.data.input import InputOptions
from fdcmkd_jax.methods import Method
from fdcmkd_jax.tasks import Task
from fdcmkd_jax.training.devices import Devices
from fdcmkd_jax.training.evaluation import EvalOptions, Evaluator
from fdcmkd_jax.training.optim import Optimizer
from fdcmkd_jax.training.stop import StopRequest
from fdcmkd_jax.training.teacher_cache import OutputRows
from fdcmkd_jax.training.teachers import Modality, Teacher
from fdcmkd_jax.types import Params


@dataclass(frozen=True)
class TrainOptions:
    """Options of training.

    Attributes:
        num_epochs: Number of passes over the training split.
        log_every_steps: Number of steps averaged into one row of the log.
        parallel: ``"pmap"`` or ``"shard_map"``.
        sync_batch_norm: Take BatchNorm statistics over all devices.
        start_from: By modality, the folder of a model with whose parameters its students start;
            empty to draw them.
        together: Train all teachers in one program, then all students; otherwise one by one. It
            changes no result beyond rounding, and takes more memory.
    """

    num_epochs: int
    log_every_steps: int = 10
    parallel: Literal["pmap", "shard_map"] = "pmap"
    sync_batch_norm: bool = True
    start_from: Mapping[str, str] = field(default_factory=dict)
    together: bool = True

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or self.log_every_steps < 1:
            raise ValueError(
                "num_epochs and log_every_steps must be positive, "
                f"got {self.num_epochs} and {self.log_every_steps}."
            )
        if self.parallel not in ("pmap", "shard_map"):
            raise ValueError(f"parallel must be 'pmap' or 'shard_map', got {self.parallel!r}.")


@dataclass(frozen=True)
class CheckpointOptions:
    """Options of checkpoints. Evaluations save them, and the last step and a request to stop do.

    Attributes:
        every_seconds: An evaluation that follows a checkpoint sooner than this saves none: its
            state waits in memory if it is the best so far. A killed run repeats this much at most.
        every_steps: Number of steps between further checkpoints; 0 for none.
        keep_latest: Number of the latest kept beside the best; at least 3 where models train
            together, so that they have a step in common wherever a run is cut off.
    """

    every_seconds: float = 30.0
    every_steps: int = 0
    keep_latest: int = 2

    def __post_init__(self) -> None:
        if self.every_seconds < 0 or self.every_steps < 0 or self.keep_latest < 1:
            raise ValueError(
                "every_seconds and every_steps must not be negative and keep_latest positive, "
                f"got {self.every_seconds}, {self.every_steps} and {self.keep_latest}."
            )


@dataclass(frozen=True)
class Job:
    """One model to train.

    Attributes:
        name: Its folder below the workdir, ``students/audio-to-image``; seeds its initialization.
        title: Its name in messages, ``student audio->image``.
        model: The backbone.
        modality: The modality it reads.
        method: The distillation method.
        weights: One weight per loss term.
        teacher: The teacher; None to train without one, or with stored outputs.
        train: The training split as this model sees it.
        num_epochs: Number of passes over it.
        optimizer: The optimizer and its schedule.
        stored: By modality, rows of outputs that stand in for a teacher; see `stored_features`.
        start_variables: ``{"params", "batch_stats"}`` to start from; None to draw them.
    """

    name: str
    title: str
    model: nn.Module
    modality: str
    method: Method
    weights: Mapping[str, float]
    teacher: Teacher | None
    train: Source
    num_epochs: int
    optimizer: Optimizer
    stored: Mapping[str, OutputRows] = field(default_factory=dict)
    start_variables: Params | None = None

    @property
    def teacher_input(self) -> Modality:
        """The modality of the teacher whose outputs the method reads; a tuple if not one."""
        if not self.method.names:
            return ()
        if self.teacher is not None:
            return self.teacher.modality
        several = self.method.needs.several_teachers or not self.stored
        return tuple(self.stored) if several else next(iter(self.stored))


@dataclass(frozen=True)
class RunContext:
    """The parts that all models of a run share.

    Attributes:
        workdir: The run's folder.
        seed: Seed of initialization, order and augmentation.
        task: The meaning of labels.
        splits: ``val`` and ``test``.
        transform: Makes an example of a record; None where the splits hold examples.
        augmented: The modalities whose inputs differ from epoch to epoch.
        input: Options of the input pipeline.
        train: Options of training.
        evaluate: Options of evaluation and selection.
        checkpoint: Options of checkpoints.
        devices: The devices to run on.
        stop: Whether the process was asked to stop.
    """

    workdir: Path
    seed: int
    task: Task
    splits: Mapping[str, Source]
    transform: Transform | None
    augmented: Collection[str]
    input: InputOptions
    train: TrainOptions
    evaluate: EvalOptions
    checkpoint: CheckpointOptions
    devices: Devices
    stop: StopRequest = field(default_factory=StopRequest)

    def evaluator(self, model: nn.Module, modality: str, method: Method) -> Evaluator:
        """Makes the evaluator of a model of this run."""
        return Evaluator(
            model,
            self.transform,
            modality,
            method,
            self.task,
            self.devices,
            self.evaluate.batch_size,
            self.input,
        )

    def host_stage(
        self, modalities: Collection[str], teacher_modalities: Collection[str]
    ) -> HostStage:
        """Makes the host's stage for the training of models of this run."""
        augmentations = {name: augment.make(**kind) for name, kind in self.input.augment.items()}
        return HostStage(self.transform, modalities, teacher_modalities, augmentations)
