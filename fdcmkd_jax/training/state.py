"""The training state: parameters, batch statistics, optimizer state, random numbers."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from flax.training import train_state
from jaxtyping import Array

from fdcmkd_jax.methods import Method
from fdcmkd_jax.training.teachers import TeacherGroup
from fdcmkd_jax.types import Outputs, Params, Targets


class TrainState(train_state.TrainState):
    """A student (or a teacher in its own training) with its method's trainables.

    Attributes:
        params: ``{"model": ..., "method": ...}``, and ``"teacher"`` where the method trains it.
        batch_stats: The model's running statistics.
        rng: Key data, uint32. Each step folds its number in, so a resumed run draws the same.
        memory: The method's memory; empty for most methods.
        teacher_stats: The running statistics of a teacher that is trained; empty for most methods.
    """

    batch_stats: Params = struct.field(pytree_node=True)
    rng: Array = struct.field(pytree_node=True)
    memory: Params = struct.field(pytree_node=True, default_factory=dict)
    teacher_stats: Params = struct.field(pytree_node=True, default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """``{"params", "batch_stats"}`` of the model, as its ``apply`` takes them in evaluation."""
        return {"params": self.params["model"], "batch_stats": self.batch_stats}


def create(
    key: Array,
    model: nn.Module,
    example: Any,
    method: Method,
    teacher: Outputs | Mapping[str, Outputs] | None,
    optimizer: optax.GradientTransformation,
    num_classes: int,
    train_targets: Targets | None = None,
    teacher_variables: Params | None = None,
) -> TrainState:
    """Creates a fresh state.

    The model's initial parameters depend on the key alone, not on the method: arms of a comparison
    that share a seed start from the same student.

    Args:
        key: A typed key.
        model: The backbone to train.
        example: A batch for it, ``[N, ...]``, or several raw arrays by name; only shapes matter.
        method: Supplies further trainables.
        teacher: The teacher's outputs, or their abstract shapes; of several teachers, by modality;
            None without a teacher.
        optimizer: Initialized on all trainables.
        num_classes: K.
        train_targets: The targets of the whole training split, for a method that needs them.
        teacher_variables: ``{"params", "batch_stats"}`` with which a teacher that is trained
            starts.

    Returns:
        A `TrainState` at step 0.

    Raises:
        ValueError: If the model does not call ``perturb("features", ...)``, or a method lacks the
            targets of the training split, or the teacher to train, that it needs.
    """
    model_key, method_key, step_key = jax.random.split(key, 3)
    variables = _init(model, model_key, example)
    if "features" not in variables.get("perturbations", {}):
        raise ValueError(
            f"{type(model).__name__} must call self.perturb('features', ...) where a shift moves "
            "its features; see fdcmkd_jax/models."
        )
    if method.needs.train_targets and train_targets is None:
        raise ValueError("the method needs the targets of the training split.")
    outputs = abstract_outputs(model, variables, example)
    method_params, memory = method.init(method_key, outputs, teacher, num_classes, train_targets)
    params = {"model": variables["params"], "method": method_params}
    teacher_stats: Params = {}
    if method.needs.trained_teacher:
        if teacher_variables is None:
            raise ValueError("a method that trains its teacher needs the teacher's variables.")
        start = jax.tree.map(jnp.asarray, dict(teacher_variables))
        params["teacher"], teacher_stats = start["params"], start["batch_stats"]
    state = TrainState.create(
        apply_fn=model.apply,
        params=params,
        tx=optimizer,
        batch_stats=variables.get("batch_stats", {}),
        rng=jax.random.key_data(step_key),
        memory=memory,
        teacher_stats=teacher_stats,
    )
    # An array from the start: a Python number would compile the first step apart from the others.
    return state.replace(step=jnp.zeros((), jnp.int32))


@functools.partial(jax.jit, static_argnums=0)
def _init(model: nn.Module, key: Array, example: Any) -> dict[str, Any]:
    """Initializes a model; compiled, because running it eagerly takes longer than compiling."""
    return dict(model.init(key, example, train=False))


def abstract_init(model: nn.Module, example: Any) -> dict[str, Any]:
    """Returns the shapes and dtypes of all that ``init`` creates, ``"perturbations"`` included."""
    return _init.eval_shape(model, jax.random.key(0), example)


def abstract_variables(model: nn.Module, example: Any) -> dict[str, Any]:
    """Returns the shapes and dtypes of a model's ``{"params", "batch_stats"}``."""
    variables = abstract_init(model, example)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def abstract_outputs(model: nn.Module | TeacherGroup, variables: Params, example: Any) -> Any:
    """Returns the shapes and dtypes of a model's outputs without running it."""
    kept = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    return _apply.eval_shape(model, kept, example)


@functools.partial(jax.jit, static_argnums=0)
def _apply(model: nn.Module | TeacherGroup, variables: Params, example: Any) -> Any:
    return model.apply(variables, example, train=False)
