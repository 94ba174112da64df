"""The training state: parameters, batch statistics, optimizer state, random numbers."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from flax.training import train_state
from jaxtyping import Array

from fdcmkd_jax.methods import Method
from fdcmkd_jax.training.cpu import run_once
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
    if "features" not in abstract_init(model, example).get("perturbations", {}):
        raise ValueError(
            f"{type(model).__name__} must call self.perturb('features', ...) where a shift moves "
            "its features; see fdcmkd_jax/models."
        )
    if method.needs.train_targets and train_targets is None:
        raise ValueError("the method needs the targets of the training split.")
    if method.needs.trained_teacher and teacher_variables is None:
        raise ValueError("a method that trains its teacher needs the teacher's variables.")
    model_key, method_key, rng = _keys(key)
    variables = _initialize_model()(model, model_key, example)
    parts = _initialize_rest()(
        model,
        method,
        optimizer,
        num_classes,
        None if train_targets is None else _Constant(train_targets),
        method_key,
        variables,
        example,
        jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), teacher),
        dict(teacher_variables or {}) if method.needs.trained_teacher else {},
    )
    return TrainState(apply_fn=model.apply, tx=optimizer, rng=rng, **parts)


@jax.jit
def _keys(key: Array) -> tuple[Array, Array, Array]:
    """Returns the key of the model, that of the method, and the key data of the steps."""
    model_key, method_key, step_key = jax.random.split(key, 3)
    return model_key, method_key, jax.random.key_data(step_key)


class _Constant(NamedTuple):
    """Values that a program holds as constants: a method may compute with them on the host."""

    targets: Targets

    def __hash__(self) -> int:
        return id(self.targets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Constant) and self.targets is other.targets


@functools.cache
def _initialize_model() -> Callable[..., dict[str, Any]]:
    """Compiles a model's initialization, which a teacher and a student of one model share."""

    def initialize(model: nn.Module, key: Array, example: Any) -> dict[str, Any]:
        variables = dict(model.init(key, example, train=False))
        return {name: variables.get(name, {}) for name in ("params", "batch_stats")}

    return jax.jit(initialize, static_argnums=0, compiler_options=run_once())


@functools.cache
def _initialize_rest() -> Callable[..., dict[str, Any]]:
    """Compiles the initialization of the rest of a state as one program."""

    def initialize(
        model: nn.Module,
        method: Method,
        optimizer: optax.GradientTransformation,
        num_classes: int,
        train_targets: _Constant | None,
        key: Array,
        variables: Params,
        example: Any,
        teacher: Any,
        teacher_variables: Params,
    ) -> dict[str, Any]:
        outputs = abstract_outputs(model, variables, example)
        targets = None if train_targets is None else train_targets.targets
        method_params, memory = method.init(key, outputs, teacher, num_classes, targets)
        params = {"model": variables["params"], "method": method_params}
        if teacher_variables:
            params["teacher"] = teacher_variables["params"]
        return {
            # An array: a Python number would compile the first step apart from the others.
            "step": jnp.zeros((), jnp.int32),
            "params": params,
            "opt_state": optimizer.init(params),
            "batch_stats": variables["batch_stats"],
            "memory": memory,
            "teacher_stats": teacher_variables.get("batch_stats", {}),
        }

    return jax.jit(initialize, static_argnums=range(5), compiler_options=run_once())


@functools.partial(jax.jit, static_argnums=0)
def _init(model: nn.Module, key: Array, example: Any) -> dict[str, Any]:
    return dict(model.init(key, example, train=False))


def abstract_init(model: nn.Module, example: Any) -> dict[str, Any]:
    """Returns the shapes and dtypes of all that ``init`` creates, ``"perturbations"`` included."""
    return _init.eval_shape(model, jax.eval_shape(lambda: jax.random.key(0)), example)


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
