"""The interface of a distillation method, and parts that several methods share."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fdcmkd_jax.adapters import adapt, dense, init_dense, linear, resize_maps
from fdcmkd_jax.initializers import named_key
from fdcmkd_jax.registry import unknown
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

Terms = dict[str, Float[Array, " N"]]
"""Loss terms by name, one value per example."""


class Init(Protocol):
    """The signature of `Method.init`."""

    def __call__(
        self,
        key: Array,
        student: Outputs,
        teacher: Any,
        num_classes: int,
        train_targets: Targets | None = None,
    ) -> tuple[Params, Params]:
        """Returns ``(params, memory)``."""
        ...


class Needs(NamedTuple):
    """Requirements of a method beyond the outputs of one frozen teacher.

    Attributes:
        teacher_maps: ``terms`` reads the teacher's maps, which a teacher cache does not keep.
        trained_teacher: The teacher is trained too: it runs in training mode, the gradients of the
            terms reach it, and its parameters and statistics are part of the training state. A
            gradient on the teacher costs its backward pass, so only methods that need it ask.
        several_teachers: ``init`` and ``terms`` take the teachers' `Outputs` by modality.
        train_targets: ``init`` reads the targets of the whole training split.
        head_maps: ``heads`` reads the student's maps, which evaluation leaves out otherwise.
    """

    teacher_maps: bool = False
    trained_teacher: bool = False
    several_teachers: bool = False
    train_targets: bool = False
    head_maps: bool = False


def no_heads(params: Params, student: Outputs) -> dict[str, Array]:
    """The ``heads`` of a method without classifiers of its own."""
    del params, student
    return {}


NO_NEEDS = Needs()


class Method(NamedTuple):
    """A distillation method: two pure functions and the names of their terms.

    As an optax transformation is a pair ``(init, update)``, a method is a pair ``(init, terms)``
    whose second function takes the memory and returns it updated. Most methods remember nothing
    and are made by `stateless`.

    Attributes:
        init: ``(key, student, teacher, num_classes, train_targets=None) -> (params, memory)``. The
            trainables of the method, drawn from the shapes of the two models' `Outputs` (abstract
            arrays suffice), and what it remembers between steps, which is not trained.
            ``train_targets`` are the `Targets` of the whole training split, for a method that needs
            them. Both trees are part of the training state and saved with it.
        terms: ``(params, memory, student, teacher, targets) -> (terms, memory)``. Loss terms beside
            the task's, each ``[N]``, and the memory after the step, equal on all devices.
        names: The names of the terms; a config weights exactly these and ``task``.
        label_terms: The terms that read labels; they count only examples whose label is shown, each
            with the weight that the task gives it.
        pseudo_label_terms: Further terms that read labels, and the teacher's predictions where a
            label is hidden; they count all examples by the weight of the label they read (of
            several teachers' predictions, by its mean).
        map_terms: The terms that read the student's maps. Their gradient does not pass through the
            features alone, so its norm on the features is not measured.
        heads: ``(params, student) -> {name: logits}``, classifiers reported beside the main one.
        needs: Requirements beyond one frozen teacher.
        dense: Whether the terms accept a prediction and a label for every position, as of a task
            that labels pixels. Others are refused there before anything is trained.
    """

    init: Init
    terms: Callable[[Params, Params, Outputs, Any, Targets], tuple[Terms, Params]]
    names: tuple[str, ...]
    label_terms: frozenset[str] = frozenset()
    pseudo_label_terms: frozenset[str] = frozenset()
    map_terms: frozenset[str] = frozenset()
    heads: Callable[[Params, Outputs], dict[str, Array]] = no_heads
    needs: Needs = NO_NEEDS
    dense: bool = False


def no_params(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
    """The trainables of a method that has none."""
    del key, student, teacher, num_classes
    return {}


def stateless(
    terms: Callable[[Params, Outputs, Any, Targets], Terms],
    *,
    names: tuple[str, ...],
    init: Callable[[Array, Outputs, Any, int], Params] = no_params,
    label_terms: frozenset[str] = frozenset(),
    pseudo_label_terms: frozenset[str] = frozenset(),
    map_terms: frozenset[str] = frozenset(),
    heads: Callable[[Params, Outputs], dict[str, Array]] = no_heads,
    needs: Needs = NO_NEEDS,
    dense: bool = False,
) -> Method:
    """Makes a method that remembers nothing between steps.

    Args:
        terms: ``(params, student, teacher, targets) -> {name: [N]}``.
        names: The names it returns.
        init: ``(key, student, teacher, num_classes) -> params``.
        label_terms: See `Method`.
        pseudo_label_terms: See `Method`.
        map_terms: See `Method`.
        heads: See `Method`.
        needs: See `Method`.
        dense: See `Method`.

    Returns:
        A `Method` whose memory is empty.

    Examples:
        >>> def squared_error(params, student, teacher, targets):
        ...     return {"error": jnp.sum((student.features - teacher.features) ** 2, axis=-1)}
        >>> stateless(squared_error, names=("error",)).names
        ('error',)
    """
    return Method(
        init=functools.partial(_stateless_init, init),
        terms=functools.partial(_stateless_terms, terms),
        names=names,
        label_terms=label_terms,
        pseudo_label_terms=pseudo_label_terms,
        map_terms=map_terms,
        heads=heads,
        needs=needs,
        dense=dense,
    )


def _stateless_init(
    init: Callable[[Array, Outputs, Any, int], Params],
    key: Array,
    student: Outputs,
    teacher: Any,
    num_classes: int,
    train_targets: Targets | None = None,
) -> tuple[Params, Params]:
    del train_targets
    return init(key, student, teacher, num_classes), {}


def _stateless_terms(
    terms: Callable[[Params, Outputs, Any, Targets], Terms],
    params: Params,
    memory: Params,
    student: Outputs,
    teacher: Any,
    targets: Targets,
) -> tuple[Terms, Params]:
    return terms(params, student, teacher, targets), memory


def read(outputs: Outputs, stage: str) -> Any:
    """Selects the array that a method compares.

    Args:
        outputs: Of a model; abstract arrays suffice.
        stage: Name of a map; empty for the features.

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
    """Draws a linear map from the student's width to the teacher's; on maps a 1x1 convolution.

    Args:
        key: Key of the kernel.
        student: Only shapes matter.
        teacher: Only shapes matter; None without a teacher.
        stage: Name of the map that is adapted; empty for the features.
        always: Also map equal widths.

    Returns:
        The parameters of the map; empty if the widths are equal or there is no teacher.

    Source: arXiv 1412.6550 (the regressor).
    """
    if teacher is None:
        return {}
    size_in, size_out = read(student, stage).shape[-1], read(teacher, stage).shape[-1]
    return dict(linear(always=always).init(key, size_in, size_out))


def adapter_only(
    stage: str = "", *, always: bool = False
) -> Callable[[Array, Outputs, Outputs | None, int], Params]:
    """Makes the ``init`` of a method whose only trainable is the linear map of `init_adapter`."""

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        del num_classes
        return {"adapter": init_adapter(key, student, teacher, stage=stage, always=always)}

    return init


def pool(x: Float[Array, "N *positions D"]) -> Float[Array, "N D"]:
    """Averages over frames or positions, if there are any: one vector per example."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def resize(
    x: Float[Array, "N *positions C"], like: Float[Array, "N *others D"]
) -> Float[Array, "N *others C"]:
    """Resizes a map to the height and width of another, bilinear between the cells' centers.

    Args:
        x: Shape ``[N, H, W, C]``; anything that is not a map is returned unchanged.
        like: Shape ``[N, h, w, D]``.

    Returns:
        Shape ``[N, h, w, C]``, at least float32.
    """
    return resize_maps(x, like) if x.ndim == 4 else at_least_float32(x)


def known_positions(targets: Targets) -> Bool[Array, "N *positions"]:
    """Marks the positions whose label is a class; a task may leave pixels unlabelled."""
    return (targets.labels >= 0) & (targets.labels < targets.num_classes)


def check_one_prediction(method: str, student: Outputs) -> None:
    """Raises ValueError unless the logits have shape ``[N, K]``."""
    if student.logits.ndim != 2:
        raise ValueError(
            f"{method} needs one prediction per example, logits [N, K]; got {student.logits.shape}."
        )


def needs_one_prediction(
    method: str,
) -> Callable[[Array, Outputs, Outputs | None, int], Params]:
    """Makes the ``init`` of a method without trainables that reads only logits ``[N, K]``."""

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        check_one_prediction(method, student)
        return no_params(key, student, teacher, num_classes)

    return init


__all__ = [
    "NO_NEEDS",
    "Init",
    "Method",
    "Needs",
    "Terms",
    "adapt",
    "adapter_only",
    "check_one_prediction",
    "dense",
    "init_adapter",
    "init_dense",
    "known_positions",
    "named_key",
    "needs_one_prediction",
    "no_heads",
    "no_params",
    "pool",
    "read",
    "resize",
    "stateless",
]
