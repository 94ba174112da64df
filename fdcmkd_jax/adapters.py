"""Adapters between features of different width and maps of different resolution.

An `Adapter` is a pair of pure functions, as an optax transformation is: ``init`` draws the
parameters, ``apply`` maps the student's features to the teacher's width. The parameters are trained
with the student's and dropped after training.

    >>> adapter = linear()
    >>> params = adapter.init(jax.random.key(0), 6, 8)
    >>> adapter.apply(params, jnp.ones((2, 6))).shape
    (2, 8)
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax.initializers import xavier_normal
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.types import Params, at_least_float32


class Adapter(NamedTuple):
    """A trainable map from one width to another.

    Attributes:
        init: ``(key, size_in, size_out) -> params``, float32.
        apply: ``(params, x [..., size_in]) -> [..., size_out]``; leading axes stay.
    """

    init: Callable[[Array, int, int], Params]
    apply: Callable[[Params, Array], Array]


def linear(*, always: bool = True) -> Adapter:
    """Makes an affine map of the last axis.

    Args:
        always: Also map equal widths; otherwise their parameters are empty and features pass
            unchanged.

    Returns:
        An adapter with parameters ``{"kernel": [in, out], "bias": [out]}``: Xavier-normal and zero.
        ``apply`` raises ValueError if the features have another width than the kernel.

    Source: arXiv 1412.6550 (the regressor).

    Examples:
        >>> adapter = linear(always=False)
        >>> adapter.init(jax.random.key(0), 8, 8)
        {}
    """
    return Adapter(functools.partial(_init_linear, always), adapt)


def mlp(hidden: int = 0) -> Adapter:
    """Makes a map of the last axis with one hidden layer: dense, ReLU, dense.

    Args:
        hidden: Width of the hidden layer; 0 for the width out.

    Returns:
        An adapter with parameters ``{"hidden": ..., "last": ...}``, each as those of `linear`.
        ``apply`` raises ValueError if the features have another width than the first kernel.

    Raises:
        ValueError: If ``hidden`` is negative.

    Examples:
        >>> adapter = mlp(hidden=16)
        >>> params = adapter.init(jax.random.key(0), 6, 8)
        >>> params["hidden"]["kernel"].shape, adapter.apply(params, jnp.ones((2, 5, 6))).shape
        ((6, 16), (2, 5, 8))
    """
    if hidden < 0:
        raise ValueError(f"hidden must not be negative, got {hidden}.")
    return Adapter(functools.partial(_init_mlp, hidden), _apply_mlp)


def conv1x1() -> Adapter:
    """Makes a 1x1 convolution of maps: one affine map of the channels at every position.

    Returns:
        An adapter with the parameters of `linear`. ``apply`` takes maps ``[N, H, W, C]`` and raises
        ValueError for arrays of another rank or width.

    Source: arXiv 1412.6550 (the convolutional regressor, here of size 1).

    Examples:
        >>> adapter = conv1x1()
        >>> params = adapter.init(jax.random.key(0), 6, 8)
        >>> adapter.apply(params, jnp.ones((2, 4, 3, 6))).shape
        (2, 4, 3, 8)
    """
    return Adapter(init_dense, _apply_conv1x1)


Kind = Literal["auto", "linear", "mlp"]


def choose(kind: Kind) -> Adapter:
    """Makes the adapter that a config names.

    Args:
        kind: ``"auto"``, `linear` where widths differ and nothing where they are equal;
            ``"linear"`` or ``"mlp"``, which map equal widths, too.

    Raises:
        ValueError: If the kind is unknown.

    Examples:
        >>> choose("auto").init(jax.random.key(0), 768, 768)
        {}
        >>> sorted(choose("mlp").init(jax.random.key(0), 768, 1280))
        ['hidden', 'last']
    """
    check_choice("adapter", kind, Kind)
    makers = {"auto": lambda: linear(always=False), "linear": linear, "mlp": mlp}
    return makers[kind]()


def init_dense(key: Array, size_in: int, size_out: int) -> dict[str, Array]:
    """Draws a dense layer: Xavier-normal kernel ``[in, out]``, zero bias ``[out]``."""
    kernel = xavier_normal(key, (size_in, size_out), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros((size_out,), jnp.float32)}


def dense(params: Params, x: Float[Array, "*lead D"]) -> Float[Array, "*lead E"]:
    """Applies a dense layer: ``x @ kernel + bias``.

    Args:
        params: ``{"kernel": [D, E], "bias": [E]}``.
        x: Shape ``[..., D]``, floating.

    Returns:
        Shape ``[..., E]``.

    Raises:
        ValueError: If D is not the kernel's.
    """
    if x.shape[-1] != params["kernel"].shape[0]:
        raise ValueError(
            f"the layer maps width {params['kernel'].shape[0]} to {params['kernel'].shape[1]}, "
            f"got an array of shape {x.shape}."
        )
    return x @ params["kernel"] + jnp.expand_dims(params["bias"], range(x.ndim - 1))


def adapt(params: Params, x: Float[Array, "*lead D"]) -> Float[Array, "*lead E"]:
    """Applies `linear`: a dense layer, or the identity where there are no parameters."""
    return dense(params, x) if params else x


def resize_maps(
    x: Float[Array, "N H W C"], like: Float[Array, "N h w D"]
) -> Float[Array, "N h w C"]:
    """Resizes maps to the height and width of others, bilinear between the cells' centers.

    Args:
        x: Shape ``[N, H, W, C]``, floating.
        like: Shape ``[N, h, w, D]``; only its shape matters.

    Returns:
        Shape ``[N, h, w, C]``, at least float32.

    Raises:
        ValueError: If either array does not have rank 4.

    Examples:
        >>> resize_maps(jnp.ones((2, 8, 8, 3)), jnp.ones((2, 4, 5, 7))).shape
        (2, 4, 5, 3)
    """
    if x.ndim != 4 or like.ndim != 4:
        raise ValueError(
            f"maps must have shape [N, H, W, C], got {x.shape} to resize to {like.shape}."
        )
    x = at_least_float32(x)
    if x.shape[1:3] == like.shape[1:3]:
        return x
    shape = (x.shape[0], *like.shape[1:3], x.shape[-1])
    # PyTorch's interpolation, which the public codes use, does not smooth when it shrinks.
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def _init_linear(always: bool, key: Array, size_in: int, size_out: int) -> Params:
    return init_dense(key, size_in, size_out) if always or size_in != size_out else {}


def _init_mlp(hidden: int, key: Array, size_in: int, size_out: int) -> Params:
    first, last = jax.random.split(key)
    width = hidden or size_out
    return {"hidden": init_dense(first, size_in, width), "last": init_dense(last, width, size_out)}


def _apply_mlp(params: Params, x: Float[Array, "*lead D"]) -> Float[Array, "*lead E"]:
    return dense(params["last"], jax.nn.relu(dense(params["hidden"], x)))


def _apply_conv1x1(params: Params, x: Array) -> Array:
    if x.ndim != 4:
        raise ValueError(f"a 1x1 convolution maps [N, H, W, C], got shape {x.shape}.")
    return dense(params, x)
