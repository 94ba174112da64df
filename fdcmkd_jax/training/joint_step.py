"""The step of models that train together."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn
from jax import lax

from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.step import Sums, TrainStep
from fdcmkd_jax.types import Batch, Params


def make_joint_step(
    steps: Mapping[str, TrainStep], teachers: Mapping[str, nn.Module]
) -> Callable[[Mapping[str, TrainState], Params, Batch], tuple[Any, dict[str, Sums]]]:
    """Joins the steps of models that read the same batches into one.

    Each model has its own state, and takes the step it would take alone. A frozen teacher runs once
    for all who read it.

    Args:
        steps: The steps by name.
        teachers: By modality, the backbones of the teachers that run in the step and are frozen.

    Returns:
        ``step(states, teacher_variables, batch) -> (states, sums)``, to be mapped like the step of
        `make_train_step`: states and sums by name, variables and ``batch.teacher_outputs`` by
        modality.
    """

    def joint_step(states: Any, teacher_variables: Params, batch: Batch) -> Any:
        outputs = dict(batch.teacher_outputs or {})
        for modality, teacher in teachers.items():
            outputs[modality] = lax.stop_gradient(
                teacher.apply(
                    teacher_variables[modality], batch.teacher_inputs[modality], train=False
                )
            )
        new_states, sums = {}, {}
        for name, step in steps.items():
            part = dataclasses.replace(batch, teacher_outputs=step.select_outputs(outputs))
            new_states[name], sums[name] = step(states[name], {}, part)
        return new_states, sums

    return joint_step
