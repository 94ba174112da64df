"""Every model with its parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fdcmkd_jax import models

N, K = 4, 5

OPTIONS = {
    "bert": {"width": 16, "depth": 2, "heads": 2, "vocab_size": 40, "max_length": 16},
    "deeplab_v3_plus": {"backbone": "mobilenet_v2", "backbone_width": 0.35, "width": 8},
}
"""Options that make a model small enough for a test."""

TEXT = ("bert",)
"""Models that read token ids."""

DENSE = ("deeplab_v3_plus",)
"""Models that predict a class for every pixel."""

WITHOUT_MAPS = ("bert", "mlp")


def make(name, **options):
    return models.make(name, num_classes=K, **OPTIONS.get(name, {}), **options)


def inputs(name, height=18, width=14, channels=2):
    """Images, or texts of unlike lengths."""
    if name not in TEXT:
        return normal(0, N, height, width, channels)
    random = np.random.default_rng(0)
    ids = random.integers(1, 40, size=(N, 9)) * (np.arange(9) < random.integers(3, 10, (N, 1)))
    return jnp.asarray(ids, jnp.int32)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def initial_shapes(module, *shape, train=False):
    """The variables a model starts with, as shapes; nothing is computed."""
    return shapes_of(module, jnp.zeros(shape), train=train)


def shapes_of(module, x, *, train=False):
    """The variables that a model starts with for an input, as shapes."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(functools.partial(module.init, train=train), keys, x)


@functools.cache
def set_up(name):
    """A model, variables as in the midst of training, and images of two channels or texts."""
    module, x = make(name), inputs(name)
    rng = np.random.default_rng(1)

    def some(path, leaf):
        numbers = rng.normal(size=leaf.shape)
        if path[-1].key == "kernel":
            numbers *= np.prod(leaf.shape[:-1]) ** -0.5  # keeps activations near 1
        else:
            numbers = 0.1 * numbers + (path[-1].key in ("scale", "var"))
        return jnp.asarray(numbers, leaf.dtype)

    variables = jax.tree.map_with_path(some, shapes_of(module, x))
    return module, {key: variables.get(key, {}) for key in ("params", "batch_stats")}, x


@functools.cache
def evaluate(name):
    """``(variables, x) -> (Outputs, what each block returned)`` with running statistics."""

    def is_block(layer, call):
        return (layer.name or "").startswith("layer")

    module = set_up(name)[0]
    return jax.jit(functools.partial(module.apply, train=False, capture_intermediates=is_block))


@functools.cache
def train(name):
    """``(variables, x, mask) -> (Outputs, updates)`` with batch statistics and fixed draws."""
    module = set_up(name)[0]
    return jax.jit(
        lambda variables, x, mask: module.apply(
            variables,
            x,
            train=True,
            mask=mask,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(3)},
        )
    )
