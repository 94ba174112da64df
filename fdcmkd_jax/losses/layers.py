"""Losses of several layers of student and teacher, each pair with a weight.

>>> import jax, jax.numpy as jnp
>>> from fdcmkd_jax import adapters
>>> student = {"stage1": jnp.ones((2, 8, 8, 6)), "stage2": jnp.ones((2, 4, 4, 12))}
>>> teacher = {"block3": jnp.ones((2, 5, 5, 7)), "block4": jnp.ones((2, 4, 4, 9))}
>>> weights = {("stage1", "block3"): 1.0, ("stage2", "block4"): 0.5}
>>> adapter = adapters.conv1x1()
>>> params = init_layers(jax.random.key(0), student, teacher, weights, adapter)
>>> layer_loss(student, teacher, weights, adapter=adapter, params=params).shape
(2,)
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxtyping import Array, Float

from fdcmkd_jax.adapters import Adapter, resize_maps
from fdcmkd_jax.initializers import named_key
from fdcmkd_jax.losses.general import combine, mean_squared_error
from fdcmkd_jax.registry import unknown
from fdcmkd_jax.types import Params, at_least_float32

Pair = tuple[str, str]
"""A student layer and the teacher layer that it learns from."""

Loss = Callable[[Array, Array], Array]
"""``(student, teacher) -> [N]``."""


def init_layers(
    key: Array,
    student: Mapping[str, Any],
    teacher: Mapping[str, Any],
    pairs: Iterable[Pair],
    adapter: Adapter,
) -> dict[str, Params]:
    """Draws one adapter per pair of layers, from the student's width to the teacher's.

    Args:
        key: A typed key; the draw of one pair does not depend on the other pairs.
        student: Layers by name, each ``[N, ..., C]``; only shapes matter.
        teacher: Layers by name, each ``[N, ..., C']``; only shapes matter.
        pairs: The pairs; the keys of a mapping of weights do.
        adapter: See `adapters`.

    Returns:
        Parameters by ``"student->teacher"``.

    Raises:
        ConfigError: If a layer is unknown.
    """
    params = {}
    for pair in pairs:
        s, t = _select(student, teacher, pair)
        name = pair_name(pair)
        params[name] = adapter.init(named_key(key, name), s.shape[-1], t.shape[-1])
    return params


def layer_losses(
    student: Mapping[str, Float[Array, "N ..."]],
    teacher: Mapping[str, Float[Array, "N ..."]],
    pairs: Iterable[Pair],
    loss: Loss = mean_squared_error,
    *,
    adapter: Adapter | None = None,
    params: Mapping[str, Params] | None = None,
) -> dict[str, Float[Array, " N"]]:
    """Computes a loss for each pair of layers.

    The student's layer goes through its adapter; then a map is resized to the teacher's.

    Args:
        student: Layers by name, each ``[N, ..., C]``, floating.
        teacher: Layers by name, each ``[N, ..., C']``, floating.
        pairs: The pairs.
        loss: ``(student, teacher) -> [N]``.
        adapter: Maps the student's width to the teacher's; None where widths are equal.
        params: Its parameters, from `init_layers`.

    Returns:
        Unweighted losses by ``"student->teacher"``, each ``[N]``.

    Raises:
        ConfigError: If a layer is unknown.
        ValueError: If only one of adapter and parameters is passed, the parameters of a pair are
            missing, or the widths or ranks of a pair differ after the adapter.
    """
    if (adapter is None) != (params is None):
        raise ValueError(
            f"pass adapter and params together, got adapter {adapter} and params {params}."
        )
    losses = {}
    for pair in pairs:
        s, t = _select(student, teacher, pair)
        name = pair_name(pair)
        if adapter is not None and params is not None:
            if name not in params:
                raise ValueError(f"params has no adapter {name!r}; it has {sorted(params)}.")
            s = adapter.apply(params[name], at_least_float32(s))
        if s.ndim != t.ndim or s.shape[-1] != t.shape[-1]:
            raise ValueError(
                f"layers {name} must have one rank and width, got {s.shape} and {t.shape}; "
                "an adapter maps the student's width to the teacher's."
            )
        losses[name] = loss(resize_maps(s, t) if s.ndim == 4 else s, t)
    return losses


def layer_loss(
    student: Mapping[str, Float[Array, "N ..."]],
    teacher: Mapping[str, Float[Array, "N ..."]],
    weights: Mapping[Pair, float],
    loss: Loss = mean_squared_error,
    *,
    adapter: Adapter | None = None,
    params: Mapping[str, Params] | None = None,
) -> Float[Array, " N"]:
    """Computes the weighted sum of `layer_losses`.

    Args:
        student: See `layer_losses`.
        teacher: See `layer_losses`.
        weights: ``{(student layer, teacher layer): weight}``, at least one.
        loss: See `layer_losses`.
        adapter: See `layer_losses`.
        params: See `layer_losses`.

    Returns:
        Shape ``[N]``.

    Raises:
        ConfigError: If a layer is unknown.
        ValueError: If there is no pair, or for the reasons of `layer_losses`.
    """
    losses = layer_losses(student, teacher, weights, loss, adapter=adapter, params=params)
    return combine(losses, {pair_name(pair): weight for pair, weight in weights.items()})


def pair_name(pair: Pair) -> str:
    """Returns ``"student->teacher"``, the name of a pair's loss and parameters."""
    return "->".join(pair)


def _select(student: Mapping[str, Any], teacher: Mapping[str, Any], pair: Pair) -> tuple[Any, Any]:
    """Returns the two layers of a pair."""
    for role, layers, name in zip(("student", "teacher"), (student, teacher), pair, strict=True):
        if name not in layers:
            raise unknown(f"{role} layer", name, layers)
    return student[pair[0]], teacher[pair[1]]
