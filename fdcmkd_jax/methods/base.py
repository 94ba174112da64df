"""What a distillation method is: a pair of pure functions, and what their terms are called."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax.types import Outputs, Params, Targets


def no_params(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
    """The ``init`` of a method without trainables of its own."""
    del key, student, teacher, num_classes
    return {}


def no_heads(params: Params, student: Outputs) -> dict[str, Array]:
    """The ``heads`` of a method without classifiers of its own."""
    del params, student
    return {}


class Method(NamedTuple):
    """A distillation method.

    Attributes:
        init: ``(key, student, teacher, num_classes) -> params``: the method's own trainables, drawn
            from the shapes of the two models' `Outputs` (abstract arrays do).
        terms: ``(params, student, teacher, targets) -> {name: [N]}``: loss terms beside the task's.
        names: The names ``terms`` returns; a config weights exactly these and ``task``.
        label_terms: Those that read labels: they count only examples whose label is shown.
        heads: ``(params, student) -> {name: logits}``: classifiers to report beside the main one.
    """

    init: Callable[[Array, Outputs, Outputs | None, int], Params]
    terms: Callable[[Params, Outputs, Outputs, Targets], dict[str, Array]]
    names: tuple[str, ...]
    label_terms: frozenset[str] = frozenset()
    heads: Callable[[Params, Outputs], dict[str, Array]] = no_heads


def init_dense(key: Array, size_in: int, size_out: int) -> dict[str, Array]:
    """A dense layer's parameters: Xavier-normal kernel ``[in, out]``, zero bias ``[out]``."""
    # JAX's glorot_normal is truncated, PyTorch's and the public code's is not.
    xavier_normal = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal")
    kernel = xavier_normal(key, (size_in, size_out), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros((size_out,), jnp.float32)}


def dense(params: Params, x: Float[Array, "*lead D"]) -> Float[Array, "*lead E"]:
    """``x @ kernel + bias``."""
    return x @ params["kernel"] + jnp.expand_dims(params["bias"], range(x.ndim - 1))


def init_adapter(key: Array, student: Outputs, teacher: Outputs | None) -> dict[str, Any]:
    """A linear map from the student's feature width to the teacher's; empty if they are equal.

    Source: arXiv 1412.6550 (the regressor).
    """
    if teacher is None:
        return {}
    size_in, size_out = student.features.shape[-1], teacher.features.shape[-1]
    return {} if size_in == size_out else init_dense(key, size_in, size_out)


def adapt(params: Params, features: Float[Array, "*lead D"]) -> Float[Array, "*lead E"]:
    """The student's features in the teacher's width; unchanged where no map is needed."""
    return dense(params, features) if params else features
