"""The common start of both sides of `compare_pytorch.py`, and their timed steps."""

import dataclasses
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from repeated import in_pytorch
from timing import seconds_in_turn

from benchmarks.pytorch_baseline import data, train
from benchmarks.pytorch_baseline.models import images_first, resnet_tiny
from fdcmkd_jax import config as configs
from fdcmkd_jax import experiment, interop
from fdcmkd_jax.config import Plan
from fdcmkd_jax.data.input import steps_per_epoch
from fdcmkd_jax.training.job import Job, RunContext
from fdcmkd_jax.training.start import initial_state, prepare
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.teachers import Teacher

ROOT = Path(__file__).resolve().parents[1]


def plan_of(workdir: Path, seed: int, epochs: int) -> Plan:
    """Builds the default config of AV-digits at a seed."""
    config = runpy.run_path(str(ROOT / "configs" / "av_digits.py"))["get_config"]()
    config.seed = seed
    config.data.data_dir = str(workdir / "data")
    config.train.num_epochs = config.teacher.num_epochs = epochs
    return configs.build(configs.resolve(config), workdir)


def states(plan: Plan) -> dict[str, tuple[Job, TrainState]]:
    """Returns each model's job and its state before the first step, by folder."""
    result: dict[str, tuple[Job, TrainState]] = {}
    for direction in plan.directions:
        (modality,) = direction.teachers
        teacher_job = experiment.teacher_job(plan, modality)
        start = initial_state(teacher_job, plan.context)
        result[teacher_job.name] = (teacher_job, start)
        teacher = Teacher(teacher_job.model, modality, jax.device_get(start.variables))
        student_job = experiment.student_job(plan, direction, {modality: teacher})
        result[student_job.name] = (student_job, initial_state(student_job, plan.context))
    return result


def write_start(folder: Path, plan: Plan) -> None:
    """Writes the initial weights and the ids of all batches, for the baseline."""
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, dict[str, Any]] = {"teachers": {}, "students": {}, "heads": {}}

    def add(part: str, prefix: str, arrays: Mapping[str, Any]) -> None:
        for key, value in arrays.items():
            content[part][f"{prefix}.{key}"] = torch.from_numpy(np.array(value))

    for name, (job, start) in states(plan).items():
        state = jax.device_get(start)
        weights = interop.to_state_dict(state.variables, naming="reproduction")
        if job.teacher is None:
            add("teachers", f"models.{job.modality}", weights)
            continue
        direction = name.removeprefix("students/").replace("-to-", "->")
        add("students", direction, weights)
        for group in ("align", "auxiliary"):
            for band, dense in state.params["method"][group].items():
                head = {"weight": dense["kernel"].T, "bias": dense["bias"]}
                add("heads", f"{direction}.groups.{group}.{band}", head)
    torch.save(content, folder / "start.pt")
    steps = plan.teacher.num_epochs * steps_per_epoch(plan.student_view, plan.context.input)
    student, _ = states(plan)[plan.directions[0].folder]
    batches = prepare([dataclasses.replace(student, teacher=None)], plan.context).data
    np.save(folder / "order.npy", np.stack([next(batches).targets.id for _ in range(steps)]))


def time_steps(
    workdir: Path, rounds: int, device: str, precision: str, jax_precision: Mapping[str, str]
) -> dict[str, list[float]]:
    """Measures seconds of single steps of both directions, of each implementation in turn."""
    jax.config.update("jax_default_matmul_precision", jax_precision[precision])
    plan = plan_of(workdir, 0, 100)
    tensors = baseline_batch(plan)
    timed = {
        "fdcmkd_jax": our_step(plan, cached=True),
        "fdcmkd_jax, teacher in each step": our_step(plan, cached=False),
        "PyTorch": their_step(tensors, train.Hardware(device, precision, False)),
        "PyTorch, compiled": their_step(tensors, train.Hardware(device, precision, True)),
    }
    for run in timed.values():
        for _ in range(3):
            run()
    return dict(zip(timed, seconds_in_turn(list(timed.values()), rounds), strict=True))


def our_step(plan: Plan, *, cached: bool) -> Callable[[], None]:
    """Makes a function that takes one compiled step of each student."""
    runs: list[list[Any]] = []
    for job, start in states(plan).values():
        if job.teacher is None:
            continue
        # An augmented teacher input rules a cache out; this one leaves the input as it is.
        context = plan.context if cached else without_cache(plan.context, job)
        data, step, teachers = prepare([job], context)
        current = context.devices.replicate({job.name: start})
        runs.append([step, current, teachers, context.devices.split(next(data))])

    def run() -> None:
        for parts in runs:
            step, current, teacher, batch = parts
            parts[1], sums = step(current, teacher, batch)
            jax.block_until_ready(sums)

    return run


def without_cache(context: RunContext, job: Job) -> RunContext:
    """Returns a context in which the teacher of a job runs in every step."""
    assert job.teacher is not None
    augment = {str(job.teacher.modality): {"name": "compare_setup:unchanged"}}
    return dataclasses.replace(context, input=dataclasses.replace(context.input, augment=augment))


def unchanged() -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Makes an augmentation that changes nothing."""
    return lambda x, random: x


def baseline_batch(plan: Plan) -> data.Batch:
    """Returns the first batch of the training split as the baseline reads it."""
    rows = [plan.student_view[row] for row in range(plan.context.input.batch_size)]
    tensors = {
        name: images_first(torch.from_numpy(np.stack([row[name] for row in rows])))
        for name in data.MODALITIES
    }
    labels = np.array([int(row["label"]) for row in rows])
    return {**tensors, "label": torch.from_numpy(labels)}


def their_step(tensors: data.Batch, hardware: train.Hardware) -> Callable[[], None]:
    """Makes a function that takes one step of the baseline."""
    module = hardware.prepare(
        train.Distillation(
            {name: resnet_tiny() for name in data.MODALITIES},
            {name: resnet_tiny() for name in train.DIRECTIONS},
            train.Recipe().weights,
        )
    ).train()
    return in_pytorch(module, tensors, hardware)
