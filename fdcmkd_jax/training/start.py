"""Everything that training needs before its first step: the state, the data, the compiled step."""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from fdcmkd_jax.data.base import Source
from fdcmkd_jax.data.host import AsEvaluated
from fdcmkd_jax.data.index import train_targets
from fdcmkd_jax.data.input import assemble
from fdcmkd_jax.data.stream import TrainBatches, train_batches
from fdcmkd_jax.methods import Method
from fdcmkd_jax.tasks import Task
from fdcmkd_jax.training import state
from fdcmkd_jax.training.devices import PROGRAMS, Devices
from fdcmkd_jax.training.job import Job, RunContext
from fdcmkd_jax.training.joint_step import make_joint_step
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.step import TrainStep
from fdcmkd_jax.training.teacher_cache import OutputRows, TaughtSource, cache_teacher_outputs
from fdcmkd_jax.training.teachers import (
    Modality,
    Teacher,
    TeacherGroup,
    modalities,
    select,
    separate,
)
from fdcmkd_jax.types import Params, from_record


def initial_state(job: Job, context: RunContext) -> TrainState:
    """Creates the state before the first step.

    Args:
        job: The model to train.
        context: The shared parts of the run.

    Returns:
        A state on the default device; its random numbers depend on the run's seed and the job's
        name alone.
    """
    stage = context.host_stage((job.modality,), modalities(job.teacher_input))
    first = jax.tree.map(lambda x: np.asarray(x)[None], AsEvaluated(job.train, stage)[0])
    needs = job.method.needs
    drawn = state.create(
        _key(np.uint32(context.seed), np.uint32(zlib.crc32(job.name.encode()))),
        job.model,
        first[job.modality],
        job.method,
        _teacher_outputs(job, first),
        job.optimizer.transformation,
        context.task.num_classes,
        train_targets=train_targets(job.train, context.task) if needs.train_targets else None,
        teacher_variables=job.teacher.variables if job.teacher else None,
    )
    if job.start_variables is None:
        return drawn
    start = job.start_variables
    return drawn.replace(
        params={**drawn.params, "model": start["params"]}, batch_stats=start["batch_stats"]
    )


@jax.jit
def _key(seed: Array, name: Array) -> Array:
    return jax.random.fold_in(jax.random.key(seed), name)


def _teacher_outputs(job: Job, first: Mapping[str, Any]) -> Any:
    """Returns the outputs that the method reads of its teacher, or their shapes; None without."""
    if not job.teacher_input:
        return None
    if job.stored:
        records = {name: rows[0] for name, rows in job.stored.items()}
        outputs: Any = from_record(jax.tree.map(lambda x: x[None], records))
        return select(outputs, job.teacher_input)
    assert job.teacher is not None, "a method has a teacher that runs, or stored outputs"
    x = select(first.get("partner", first), job.teacher.modality)
    return state.abstract_outputs(job.teacher.model, job.teacher.variables, x)


class Training(NamedTuple):
    """All that the steps of models that train together need beside their states.

    Attributes:
        data: The batches.
        step: The compiled step; see `joint_step.make_joint_step`.
        teacher_variables: By modality, on the devices, of the frozen teachers that run in the step.
    """

    data: TrainBatches
    step: Callable[..., Any]
    teacher_variables: Params


def prepare(jobs: Sequence[Job], context: RunContext) -> Training:
    """Prepares the training of models that share their training split.

    Args:
        jobs: The models; a teacher of theirs is the same for all who read its modality.
        context: The shared parts of the run.
    """
    source, running = with_teacher_outputs(jobs, context)
    read = tuple(dict.fromkeys(job.modality for job in jobs))
    make_batch = functools.partial(
        assemble, task=context.task, modalities=read, teacher_modalities=tuple(running)
    )
    stage = context.host_stage(read, tuple(running))
    data = train_batches(source, context.input, make_batch, stage, seed=context.seed)
    trained = {
        job.teacher.modality
        for job in jobs
        if job.teacher is not None and job.method.needs.trained_teacher
    }
    frozen: dict[str, Any] = {k: teacher for k, teacher in running.items() if k not in trained}
    step = _program(
        context.devices,
        context.task,
        tuple(_Part.of(job) for job in jobs),
        tuple((name, teacher.model) for name, teacher in frozen.items()),
        not context.input.drop_remainder,
    )
    variables = {name: teacher.variables for name, teacher in frozen.items()}
    return Training(data, step, context.devices.replicate(variables))


def with_teacher_outputs(
    jobs: Sequence[Job], context: RunContext
) -> tuple[Source, dict[str, Teacher]]:
    """Adds teachers' outputs to the training split where they never change.

    They change if the teacher is trained or its input is augmented; a method that reads the
    teacher's maps needs the teacher itself.

    Returns:
        The split, and the teachers that run in every step, by modality.
    """
    rows: dict[str, OutputRows] = {name: part for job in jobs for name, part in job.stored.items()}
    running: dict[str, Teacher] = {}
    for job in jobs:
        for teacher in separate(job.teacher) if job.teacher and job.teacher_input else ():
            name = str(teacher.modality)
            if name in rows or name in running:
                continue
            outputs = _unchanging_outputs(job, teacher, context)
            if outputs is None:
                running[name] = teacher
            else:
                rows[name] = outputs
    source = jobs[0].train
    if not rows:
        return source, running
    read = {job.modality for job in jobs} | set(running)
    taught = {name for job in jobs for name in modalities(job.teacher_input)}
    leave_out = (taught - read) | (set() if running else {"partner"})
    return TaughtSource(source, rows, leave_out), running


def _unchanging_outputs(job: Job, teacher: Teacher, context: RunContext) -> OutputRows | None:
    needs, name = job.method.needs, str(teacher.modality)
    if needs.teacher_maps or needs.trained_teacher or name in context.augmented:
        return None
    assert isinstance(teacher.model, nn.Module), "teachers are separated"
    return cache_teacher_outputs(
        job.train,
        context.transform,
        teacher.model,
        teacher.variables,
        name,
        context.devices.local,
        # Not the size of evaluation batches, which may change no result.
        batch_size=context.input.batch_size,
        spill_to=spilled_outputs(name, context),
    )


def spilled_outputs(modality: str, context: RunContext) -> Path:
    """Returns the path of teacher outputs that do not fit in memory, kept while students train."""
    return context.workdir / "teachers" / modality / f"outputs{jax.process_index()}.array_record"


class _Part(NamedTuple):
    """Parts of a job on which the program of its step depends."""

    name: str
    model: nn.Module
    modality: str
    method: Method
    weights: tuple[tuple[str, float], ...]
    trained_teacher: nn.Module | TeacherGroup | None
    teacher_input: Modality

    @classmethod
    def of(cls, job: Job) -> "_Part":
        trained = job.teacher.model if job.teacher and job.method.needs.trained_teacher else None
        weights = tuple(job.weights.items())
        return cls(
            job.name, job.model, job.modality, job.method, weights, trained, job.teacher_input
        )


@functools.lru_cache(maxsize=PROGRAMS)
def _program(
    devices: Devices,
    task: Task,
    parts: tuple[_Part, ...],
    teachers: tuple[tuple[str, nn.Module], ...],
    padded: bool,
) -> Callable:
    """Compiles the step once for all runs of a process that share these parts."""
    steps = {
        part.name: TrainStep(
            part.model,
            part.modality,
            part.method,
            task,
            dict(part.weights),
            part.trained_teacher,
            part.teacher_input,
            padded,
        )
        for part in parts
    }
    step = make_joint_step(steps, dict(teachers))
    return devices.map(step, split_arguments=(False, False, True), donate=True)
