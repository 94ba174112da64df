"""What training changes: parameters, batch statistics, optimiser state, random numbers."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from flax.training import train_state
from jaxtyping import Array, Float

from fdcmkd_jax.methods import Method
from fdcmkd_jax.teachers import Ensemble
from fdcmkd_jax.types import Outputs, Params, Targets


class TrainState(train_state.TrainState):
    """A student (or a teacher in its own training) with its method's trainables.

    Attributes:
        params: ``{"model": ..., "method": ...}``, and ``"teacher"`` where the method trains it.
        batch_stats: The model's running statistics.
        rng: Key data, uint32; each step folds its number in, so a resumed run draws the same.
        memory: What the method remembers; empty for most.
        teacher_stats: The running statistics of a teacher that is trained; empty for most.
    """

    batch_stats: Params = struct.field(pytree_node=True)
    rng: Array = struct.field(pytree_node=True)
    memory: Params = struct.field(pytree_node=True, default_factory=dict)
    teacher_stats: Params = struct.field(pytree_node=True, default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """What the model's ``apply`` needs outside training, and all a teacher is."""
        return {"params": self.params["model"], "batch_stats": self.batch_stats}


def create(
    key: Array,
    model: nn.Module,
    example: Float[Array, "N *shape"],
    method: Method,
    teacher: Outputs | Mapping[str, Outputs] | None,
    optimizer: optax.GradientTransformation,
    num_classes: int,
    everyone: Targets | None = None,
    teacher_variables: Params | None = None,
) -> TrainState:
    """A fresh state.

    The model's start depends on the key alone, not on the method: arms of a comparison that share
    a seed start from the same student.

    Args:
        key: A typed key.
        model: The backbone to train.
        example: A batch for it, shape ``[N, ...]``; only its shape matters.
        method: Supplies further trainables.
        teacher: The teacher's outputs, or their abstract shapes; of several teachers, each one's by
            modality; None without a teacher.
        optimizer: Initialised on all trainables.
        num_classes: K.
        everyone: The targets of the whole training split, for a method with a memory.
        teacher_variables: ``{"params", "batch_stats"}`` from which a method trains the teacher on.

    Returns:
        A `TrainState` at step 0.

    Raises:
        ValueError: If the model does not call ``perturb("features", ...)``, or there are no targets
            for a method with a memory or no teacher for one that trains it.
    """
    model_key, method_key, step_key = jax.random.split(key, 3)
    variables = _init(model, model_key, example)
    if "features" not in variables.get("perturbations", {}):
        raise ValueError(
            f"{type(model).__name__} must call self.perturb('features', ...) where a shift moves "
            "its features; see fdcmkd_jax/models."
        )
    outputs = abstract_outputs(model, variables, example)
    params = {
        "model": variables["params"],
        "method": method.init(method_key, outputs, teacher, num_classes),
    }
    teacher_stats: Params = {}
    if method.trains_teacher:
        if teacher_variables is None:
            raise ValueError("a method that trains its teacher needs the teacher's variables.")
        given = jax.tree.map(jnp.asarray, dict(teacher_variables))
        params["teacher"], teacher_stats = given["params"], given["batch_stats"]
    memory: Params = {}
    if method.init_memory is not None:
        if everyone is None:
            raise ValueError("a method with a memory needs the targets of the training split.")
        memory = method.init_memory(jax.random.fold_in(method_key, 1), params["method"], everyone)
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
def _init(model: nn.Module, key: Array, example: Array) -> dict[str, Any]:
    """Compiled once for all models of one shape; run eagerly it takes longer than that."""
    return dict(model.init(key, example, train=False))


def abstract_init(model: nn.Module, example: Any) -> dict[str, Any]:
    """The shapes and dtypes of all that a model's ``init`` draws, ``"perturbations"`` included."""
    return _init.eval_shape(model, jax.random.key(0), example)


def abstract_variables(model: nn.Module, example: Any) -> dict[str, Any]:
    """The shapes and dtypes of a model's ``{"params", "batch_stats"}``, without drawing them."""
    found = abstract_init(model, example)
    return {"params": found["params"], "batch_stats": found.get("batch_stats", {})}


def abstract_outputs(model: nn.Module | Ensemble, variables: Params, example: Any) -> Any:
    """The shapes and dtypes a model would return, without running it."""
    kept = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    return _apply.eval_shape(model, kept, example)


@functools.partial(jax.jit, static_argnums=0)
def _apply(model: nn.Module | Ensemble, variables: Params, example: Any) -> Any:
    return model.apply(variables, example, train=False)
