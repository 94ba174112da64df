"""How much faster a student of `resnet_tiny` trains when its teacher's outputs are in the batch.

    python benchmarks/cached_teacher.py

Both forms of the step run alternately in one process; the ratio of their medians is what counts.
The batch is on the device already, so reading it is left out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from timing import flags, in_turn

from fdcmkd_jax import methods, models, optim, state, tasks
from fdcmkd_jax.state import TrainState
from fdcmkd_jax.step import AXIS, Devices, make_train_step

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
    """One step of FD-CMKD and what it starts from.

    Attributes:
        step: As `make_train_step` returns it.
        start: The state before the first step.
        teacher: The teacher's variables.
        batch: With what the teacher reads.
        known: The same batch with the teacher's outputs instead.
    """

    step: Callable[..., Any]
    start: TrainState
    teacher: dict[str, Any]
    batch: dict[str, Any]
    known: dict[str, Any]


def training(teacher: str, student: str, size: int) -> Training:
    """A student of `resnet_tiny` under a teacher of random weights, on random numbers."""
    model = models.make("resnet_tiny", num_classes=NUM_CLASSES, axis_name=AXIS)
    batch = {
        name: jax.random.normal(jax.random.key(n), (size, *shape))
        for n, (name, shape) in enumerate(SHAPES.items())
    }
    batch["label"] = jnp.arange(size, dtype=jnp.int32) % NUM_CLASSES
    batch["labelled"] = batch["mask"] = jnp.ones(size, bool)
    variables = model.init(jax.random.key(2), batch[teacher], train=False)
    variables = {name: variables[name] for name in ("params", "batch_stats")}
    says: Any = model.apply(variables, batch[teacher], train=False)
    known = {**batch, "teacher": {"logits": says.logits, "features": says.features}}
    known.pop(teacher)
    method = methods.make("fd_cmkd", axis_name=AXIS)
    weights = dict.fromkeys(("task", *method.names), 1.0)
    optimizer, _ = optim.make(num_epochs=100, steps_per_epoch=3)
    task = tasks.make("classification", num_classes=NUM_CLASSES)
    start = state.create(
        jax.random.key(3), model, batch[student], method, says, optimizer, NUM_CLASSES
    )
    step = make_train_step(model, student, method, task, weights, model, teacher)
    return Training(step, start, variables, batch, known)


def training_steps(teacher: str, student: str, size: int) -> list[Callable[[], None]]:
    """A compiled step of FD-CMKD that runs its teacher, and one that finds its outputs."""
    devices = Devices("pmap")
    step, start, variables, batch, known = training(teacher, student, size)
    compiled = devices.map(step, batch_argument=2, split_output=None, donate=False)

    def repeated(data: dict) -> Callable[[], None]:
        current = devices.replicate(start)
        placed, frozen = devices.split(data), devices.replicate(variables)

        def once() -> None:
            nonlocal current
            current, _ = compiled(current, frozen, placed)
            jax.block_until_ready(current.params)

        once()  # Compiles.
        return once

    return [repeated(batch), repeated(known)]


if __name__ == "__main__":
    main()
