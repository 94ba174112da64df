"""What a distillation method is: a pair of pure functions, and what their terms are called."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax.initializers import xavier_normal
from fdcmkd_jax.tables import unknown
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


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

    Most are a pair of pure functions, ``init`` and ``terms``. One that remembers something from
    step to step has ``init_memory`` too: its ``terms`` then takes the memory as a fifth argument
    and returns ``(terms, memory)``. The memory is not trained; it is part of the training state,
    equal on all devices, and saved with it.

    Attributes:
        init: ``(key, student, teacher, num_classes) -> params``: the method's own trainables, drawn
            from the shapes of the two models' `Outputs` (abstract arrays do).
        terms: ``(params, student, teacher, targets) -> {name: [N]}``: loss terms beside the task's.
        names: The names ``terms`` returns; a config weights exactly these and ``task``.
        label_terms: Those that read labels: they count only examples whose label is shown.
        heads: ``(params, student) -> {name: logits}``: classifiers to report beside the main one.
        reads_teacher_maps: Whether ``terms`` reads the teacher's maps; else these may be absent.
        init_memory: ``(key, params, everyone) -> memory``: what the method remembers at the start,
            a tree of arrays; ``everyone`` is the whole training split's `Targets`, as far as the
            student may know them. None if it remembers nothing.
        trains_teacher: The teacher learns too: it runs in training mode, the terms' gradients reach
            it, and its parameters and statistics are part of the training state. Never where it is
            not needed: a gradient on the teacher costs its backward pass.
        several_teachers: ``init`` and ``terms`` take a dictionary of teachers' `Outputs` by
            modality instead of one teacher's.
    """

    init: Callable[[Array, Outputs, Any, int], Params]
    terms: Callable[..., Any]
    names: tuple[str, ...]
    label_terms: frozenset[str] = frozenset()
    heads: Callable[[Params, Outputs], dict[str, Array]] = no_heads
    reads_teacher_maps: bool = False
    init_memory: Callable[[Array, Params, Targets], Params] | None = None
    trains_teacher: bool = False
    several_teachers: bool = False

    def run(
        self,
        params: Params,
        student: Outputs,
        teacher: Any,
        targets: Targets,
        memory: Params,
    ) -> tuple[dict[str, Array], Params]:
        """The terms and the memory after them, of a method with or without one.

        Args:
            params: The method's trainables.
            student: The student's outputs, N first.
            teacher: The teacher's; None without a teacher.
            targets: The batch's, N first.
            memory: What the method remembers; empty if nothing.

        Returns:
            ``({name: [N]}, memory)``.
        """
        if self.init_memory is None:
            return self.terms(params, student, teacher, targets), memory
        return self.terms(params, student, teacher, targets, memory)


def named_key(key: Array, name: str) -> Array:
    """A part's own key, the same whatever other parts there are."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def init_dense(key: Array, size_in: int, size_out: int) -> dict[str, Array]:
    """A dense layer's parameters: Xavier-normal kernel ``[in, out]``, zero bias ``[out]``."""
    kernel = xavier_normal(key, (size_in, size_out), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros((size_out,), jnp.float32)}


def dense(params: Params, x: Float[Array, "*lead D"]) -> Float[Array, "*lead E"]:
    """``x @ kernel + bias``."""
    return x @ params["kernel"] + jnp.expand_dims(params["bias"], range(x.ndim - 1))


def read(outputs: Outputs, stage: str) -> Any:
    """What a method compares: the features if ``stage`` is empty, else the map of that name.

    Returns:
        Shape ``[N, ..., D]``; abstract if the outputs are.

    Raises:
        ConfigError: If the model has no such map.
    """
    if not stage:
        return outputs.features
    if stage not in outputs.maps:
        raise unknown("stage", stage, outputs.maps)
    return outputs.maps[stage]


def init_adapter(
    key: Array, student: Outputs, teacher: Outputs | None, *, stage: str = "", always: bool = False
) -> dict[str, Any]:
    """A linear map from the student's width to the teacher's; on maps a 1x1 convolution.

    Args:
        key: For the kernel.
        student: Only shapes matter.
        teacher: Likewise; None without a teacher.
        stage: Which map is adapted; empty for the features.
        always: Map equal widths too.

    Returns:
        The map's parameters; empty if the widths are equal or there is no teacher.

    Source: arXiv 1412.6550 (the regressor).
    """
    if teacher is None:
        return {}
    size_in, size_out = read(student, stage).shape[-1], read(teacher, stage).shape[-1]
    return init_dense(key, size_in, size_out) if always or size_in != size_out else {}


def adapter_only(
    stage: str = "", *, always: bool = False
) -> Callable[[Array, Outputs, Outputs | None, int], Params]:
    """The ``init`` of a method whose one trainable is the linear map of `init_adapter`."""

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        del num_classes
        return {"adapter": init_adapter(key, student, teacher, stage=stage, always=always)}

    return init


def adapt(params: Params, features: Float[Array, "*lead D"]) -> Float[Array, "*lead E"]:
    """The student's features in the teacher's width; unchanged where no map is needed."""
    return dense(params, features) if params else features


def pool(x: Float[Array, "N *positions D"]) -> Float[Array, "N D"]:
    """One vector an example: the mean over frames or positions, if there are any."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def resize(
    x: Float[Array, "N *positions C"], like: Float[Array, "N *others D"]
) -> Float[Array, "N *others C"]:
    """A map at another map's height and width, bilinear between the centres of its cells.

    Args:
        x: Shape ``[N, H, W, C]``; anything that is not a map is returned as it is.
        like: Shape ``[N, h, w, D]``.

    Returns:
        Shape ``[N, h, w, C]``, at least float32.
    """
    x = at_least_float32(x)
    if x.ndim != 4 or x.shape[1:3] == like.shape[1:3]:
        return x
    shape = (x.shape[0], *like.shape[1:3], x.shape[-1])
    # PyTorch's interpolation, which the public codes use, does not smooth when it shrinks.
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def needs_one_prediction(
    method: str,
) -> Callable[[Array, Outputs, Outputs | None, int], Params]:
    """The ``init`` of a method without trainables that reads logits of shape ``[N, K]`` only."""

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        if student.logits.ndim != 2:
            raise ValueError(
                f"{method} needs one prediction an example, logits [N, K]; "
                f"got {student.logits.shape}."
            )
        return no_params(key, student, teacher, num_classes)

    return init
