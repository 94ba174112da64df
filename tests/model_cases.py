"""Every model with its parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fdcmkd_jax import models

N, K = 4, 5


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def initial_shapes(module, *shape, train=False):
    """The variables a model starts with, as shapes; nothing is computed."""
    return jax.eval_shape(
        functools.partial(module.init, train=train), jax.random.key(0), jnp.zeros(shape)
    )


@functools.cache
def set_up(name):
    """A model, variables as in the midst of training, and images of two channels."""
    module, x = models.make(name, num_classes=K), normal(0, N, 18, 14, 2)
    rng = np.random.default_rng(1)

    def some(path, leaf):
        numbers = rng.normal(size=leaf.shape)
        if path[-1].key == "kernel":
            numbers *= np.prod(leaf.shape[:-1]) ** -0.5  # keeps activations near 1
        else:
            numbers = 0.1 * numbers + (path[-1].key in ("scale", "var"))
        return jnp.asarray(numbers, leaf.dtype)

    variables = jax.tree.map_with_path(some, initial_shapes(module, *x.shape))
    return module, {key: variables[key] for key in ("params", "batch_stats")}, x


@functools.cache
def evaluate(name):
    """``(variables, x) -> (Outputs, what each block returned)`` with running statistics."""

    def is_block(layer, call):
        return (layer.name or "").startswith("layer")

    module = set_up(name)[0]
    return jax.jit(functools.partial(module.apply, train=False, capture_intermediates=is_block))


@functools.cache
def train(name):
    """``(variables, x, mask) -> (Outputs, updates)`` with batch statistics."""
    module = set_up(name)[0]
    return jax.jit(
        lambda variables, x, mask: module.apply(
            variables, x, train=True, mask=mask, mutable=["batch_stats"]
        )
    )
