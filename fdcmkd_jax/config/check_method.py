"""Checks a method against the outputs it will read, before anything is trained."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from fdcmkd_jax.config.directions import Direction
from fdcmkd_jax.config.plan import Plan
from fdcmkd_jax.data.index import Indexed, read_index, train_targets
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import state
from fdcmkd_jax.training.devices import AXIS
from fdcmkd_jax.types import Outputs, Params, Targets, from_record


def check_method(plan: Plan) -> None:
    """Initializes the method on shapes alone: before the teachers are trained, not after.

    Raises:
        ConfigError: If it needs something that a model does not return or a file does not hold.
    """
    outputs = _abstract_outputs(plan)
    targets: Targets | None = None
    if plan.method.needs.train_targets:
        targets = train_targets(plan.student_view, plan.context.task)

    def initialize(key: Array, direction: Direction) -> tuple[Params, Params]:
        student, num_classes = outputs[direction.student], plan.context.task.num_classes
        teacher = _teacher_outputs(plan, direction, outputs)
        return plan.method.init(key, student, teacher, num_classes, targets)

    for direction in plan.directions:
        stored = direction in plan.stored
        if stored:
            _check_needs(plan.method.needs, direction)
        try:
            params, memory = jax.eval_shape(
                lambda key, direction=direction: initialize(key, direction), jax.random.key(0)
            )
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(f"section 'method': {error}") from error
        if stored:
            _check_terms(plan, direction, params, memory, outputs)


def _abstract_outputs(plan: Plan) -> dict[str, Outputs]:
    """Returns the shapes of the models' outputs by modality, for a batch of one example."""
    outputs = {}
    for modality, model in plan.models.items():
        x = plan.input_of(modality)
        outputs[modality] = state.abstract_outputs(model, state.abstract_variables(model, x), x)
    return outputs


def _teacher_outputs(plan: Plan, direction: Direction, outputs: Mapping[str, Outputs]) -> Any:
    """Returns the shapes of the outputs of a direction's teachers, stored ones included."""
    stored = {name: rows[0] for name, rows in plan.stored.get(direction, {}).items()}
    records = jax.tree.map(lambda row: row[None], stored)
    teachers = {name: outputs[name] for name in direction.teachers if name not in stored}
    teachers |= jax.eval_shape(lambda: from_record(records))
    return teachers if plan.method.needs.several_teachers else teachers[direction.teachers[0]]


def _check_needs(needs: Any, direction: Direction) -> None:
    """Raises ConfigError if the method needs more of a teacher than stored outputs."""
    for needed, what in (
        (needs.teacher_maps, "reads the teacher's maps"),
        (needs.trained_teacher, "trains the teacher"),
    ):
        if needed:
            raise ConfigError(
                f"{direction}: the method {what}, which needs a teacher that runs; "
                "teacher.features holds stored logits and features."
            )


def _check_terms(
    plan: Plan,
    direction: Direction,
    params: Params,
    memory: Params,
    outputs: Mapping[str, Outputs],
) -> None:
    """Traces the terms, in case the method reads logits that are not stored.

    Raises:
        ConfigError: If the method cannot use the stored outputs.
    """
    teacher = _teacher_outputs(plan, direction, outputs)
    first = Indexed(plan.student_view, read_index(plan.student_view), np.zeros(1, int))
    targets = jax.eval_shape(lambda: train_targets(first, plan.context.task))
    on_one_device = jax.vmap(plan.method.terms, in_axes=(None, None, 0, 0, 0), axis_name=AXIS)

    def add_axis(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), tree)

    batch = (add_axis(outputs[direction.student]), add_axis(teacher), add_axis(targets))
    try:
        jax.eval_shape(on_one_device, params, memory, *batch)
    except (AttributeError, TypeError, ValueError) as error:
        parts = teacher.values() if isinstance(teacher, dict) else [teacher]
        lacking = any(part.logits is None for part in parts)
        hint = " It may need logits, which are not stored." if lacking else ""
        raise ConfigError(
            f"{direction}: the method cannot use the stored teacher features: {error}.{hint}"
        ) from error
