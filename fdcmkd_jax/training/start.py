"""Everything that training needs before its first step: the state, the data, the compiled step."""

import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fdcmkd_jax.data.base import Source
from fdcmkd_jax.data.host import AsEvaluated, HostStage
from fdcmkd_jax.data.index import train_targets
from fdcmkd_jax.data.input import assemble
from fdcmkd_jax.data.stream import TrainBatches, train_batches
from fdcmkd_jax.methods import Method
from fdcmkd_jax.tasks import Task
from fdcmkd_jax.training import state
from fdcmkd_jax.training.devices import PROGRAMS, Devices
from fdcmkd_jax.training.job import Job, RunContext
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.step import make_train_step
from fdcmkd_jax.training.teacher_cache import cache_teacher_outputs
from fdcmkd_jax.training.teachers import Modality, TeacherGroup, modalities, select
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
    example = AsEvaluated(job.train, context.host_stage(job))[0]
    first = jax.tree.map(lambda x: jnp.asarray(x)[None], example)
    teacher_outputs: Any = None
    if "teacher" in first:
        teacher_outputs = from_record(first["teacher"])
    elif job.teacher is not None:
        x = select(first.get("partner", first), job.teacher.modality)
        teacher_outputs = state.abstract_outputs(job.teacher.model, job.teacher.variables, x)
    key = jax.random.fold_in(jax.random.key(context.seed), zlib.crc32(job.name.encode()))
    needs = job.method.needs
    drawn = state.create(
        key,
        job.model,
        first[job.modality],
        job.method,
        teacher_outputs,
        job.optimizer.transformation,
        context.task.num_classes,
        train_targets=train_targets(job.train, context.task) if needs.train_targets else None,
        teacher_variables=job.teacher.variables if job.teacher else None,
    )
    if job.start_variables is None:
        return drawn
    start = jax.tree.map(jnp.asarray, job.start_variables)
    return drawn.replace(
        params={**drawn.params, "model": start["params"]}, batch_stats=start["batch_stats"]
    )


def training_data(job: Job, context: RunContext) -> TrainBatches:
    """Streams the job's batches, with its teacher's outputs where these never change."""
    make_batch = functools.partial(
        assemble,
        task=context.task,
        modality=job.modality,
        teacher_modalities=modalities(job.teacher.modality) if job.teacher else (),
    )
    source, stage = with_teacher_outputs(job, context), context.host_stage(job)
    return train_batches(source, context.input, make_batch, stage, seed=context.seed)


def with_teacher_outputs(job: Job, context: RunContext) -> Source:
    """Returns the training split with the teacher's outputs where they never change.

    They change if the teacher is trained or its input is augmented; a method that reads the
    teacher's maps needs the teacher itself.
    """
    teacher, method = job.teacher, job.method
    if teacher is None or not method.names:
        return job.train
    if method.needs.teacher_maps or method.needs.trained_teacher:
        return job.train
    read_by_teacher = set(modalities(teacher.modality))
    if read_by_teacher & set(context.augmented):
        return job.train
    return cache_teacher_outputs(
        job.train,
        HostStage(context.transform, job.modality, read_by_teacher),
        teacher.model,
        teacher.variables,
        teacher.modality,
        leave_out=read_by_teacher - {job.modality},
        # Not the size of evaluation batches, which may change no result.
        batch_size=context.input.batch_size,
        spill_to=spilled_outputs(job, context),
    )


def spilled_outputs(job: Job, context: RunContext) -> Path:
    """Returns the path of teacher outputs that do not fit in memory, kept while a job trains."""
    return context.workdir / job.name / f"teacher_outputs{jax.process_index()}.array_record"


def compiled_step(job: Job, context: RunContext) -> tuple[Callable, Params]:
    """Returns the compiled train step, and a frozen teacher's variables on the devices."""
    teacher = job.teacher
    step = _program(
        context.devices,
        job.model,
        job.modality,
        job.method,
        context.task,
        tuple(job.weights.items()),
        teacher.model if teacher else None,
        teacher.modality if teacher else (),
    )
    frozen = teacher.variables if teacher and not job.method.needs.trained_teacher else {}
    return step, context.devices.replicate(frozen)


@functools.lru_cache(maxsize=PROGRAMS)
def _program(
    devices: Devices,
    student: nn.Module,
    student_input: str,
    method: Method,
    task: Task,
    weights: tuple[tuple[str, float], ...],
    teacher: nn.Module | TeacherGroup | None,
    teacher_input: Modality,
) -> Callable:
    """Compiles the step once for all runs of a process that share these parts."""
    step = make_train_step(
        student, student_input, method, task, dict(weights), teacher, teacher_input
    )
    return devices.map(step, batch_argument=2, split_output=None, donate=True)
