"""Speed of training a student of `resnet_tiny` with its teacher's outputs in the batch.

    python benchmarks/cached_teacher.py

Steps that run the teacher and steps that do not alternate in one process; compare the ratio of
their medians. The batch is on the device already, so reading it is not measured.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from timing import flags, in_turn

from fdcmkd_jax import methods, models, tasks
from fdcmkd_jax.training import optim, state
from fdcmkd_jax.training.devices import AXIS, Devices
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.step import make_train_step
from fdcmkd_jax.types import Batch

SHAPES = {"image": (28, 28, 1), "audio": (32, 13, 1)}
NUM_CLASSES = 10


def main() -> None:
    """Prints a table of step times."""
    arguments = flags(__doc__)
    print("| direction | teacher run, ms | cached, ms | ratio |\n| --- | --- | --- | --- |")
    for teacher, student in (("audio", "image"), ("image", "audio")):
        steps = training_steps(teacher, student, arguments.batch)
        run, cached = in_turn(steps, arguments.repeats)
        print(f"| {teacher}->{student} | {run:.1f} | {cached:.1f} | {run / cached:.2f} |")


class Training(NamedTuple):
    """A step of FD-CMKD with its inputs.

    Attributes:
        step: As `make_train_step` returns it.
        start: The state before the first step.
        teacher: The teacher's variables.
        batch: A batch with the teacher's inputs.
        cached: The same batch with the teacher's outputs instead.
    """

    step: Callable[..., Any]
    start: TrainState
    teacher: dict[str, Any]
    batch: Batch
    cached: Batch


def training(teacher: str, student: str, size: int) -> Training:
    """Makes a student of `resnet_tiny` under a teacher of random parameters, on random numbers."""
    model = models.make("resnet_tiny", num_classes=NUM_CLASSES, axis_name=AXIS)
    inputs = {
        name: jax.random.normal(jax.random.key(n), (size, *shape))
        for n, (name, shape) in enumerate(SHAPES.items())
    }
    variables = model.init(jax.random.key(2), inputs[teacher], train=False)
    variables = {name: variables[name] for name in ("params", "batch_stats")}
    outputs: Any = model.apply(variables, inputs[teacher], train=False)
    outputs = outputs.replace(maps={})  # As a cache keeps them.
    method = methods.make("fd_cmkd", axis_name=AXIS)
    weights = dict.fromkeys(("task", *method.names), 1.0)
    optimizer = optim.make(num_epochs=100, steps_per_epoch=3).transformation
    task = tasks.make("classification", num_classes=NUM_CLASSES)
    targets = task.targets(jnp.arange(size, dtype=jnp.int32) % NUM_CLASSES)
    batch = Batch({student: inputs[student]}, {teacher: inputs[teacher]}, None, targets)
    cached = batch.replace(teacher_inputs={}, teacher_outputs=outputs)  # type: ignore[attr-defined]
    start = state.create(
        jax.random.key(3), model, inputs[student], method, outputs, optimizer, NUM_CLASSES
    )
    step = make_train_step(model, student, method, task, weights, model, teacher)
    return Training(step, start, variables, batch, cached)


def training_steps(teacher: str, student: str, size: int) -> list[Callable[[], None]]:
    """Compiles a step of FD-CMKD that runs its teacher, and one that reads its outputs."""
    devices = Devices("pmap")
    step, start, variables, batch, cached = training(teacher, student, size)
    compiled = devices.map(step, split_arguments=(False, False, True))

    def repeated(data: Batch) -> Callable[[], None]:
        current = devices.replicate(start)
        placed, frozen = devices.split(data), devices.replicate(variables)

        def once() -> None:
            nonlocal current
            current, _ = compiled(current, frozen, placed)
            jax.block_until_ready(current.params)

        once()  # Compiles.
        return once

    return [repeated(batch), repeated(cached)]


if __name__ == "__main__":
    main()
