"""Small random outputs of a student and a teacher, for tests of definitions in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from builders import init_fn, terms_fn

from fdcmkd_jax import losses, methods
from fdcmkd_jax.types import Outputs, Targets

N, K, D = 4, 5, 8
MASK = np.array([True, True, False, True])  # Row 2 is padding.
KEPT = np.flatnonzero(MASK)


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def model(seed, *, width=D, classes=K, rest=(), maps=()):
    """Outputs of a model; ``maps`` gives the shape of each map without N."""
    shapes = dict(maps)
    return Outputs(
        logits=jnp.asarray(random(seed, N, classes), jnp.float32),
        features=jnp.asarray(random(seed + 10, N, *rest, width), jnp.float32),
        maps={
            name: jnp.asarray(random(seed + 20, N, *shape), jnp.float32)
            for name, shape in shapes.items()
        },
    )


def targets(classes=K, mask=MASK):
    return Targets(
        labels=jnp.asarray([0, 2, 1, 2], jnp.int32),
        labelled=jnp.ones(N, bool),
        mask=jnp.asarray(mask),
        num_classes=classes,
        label_loss=losses.cross_entropy,
    )


def terms_of(name, student, teacher, shown=None, params=None, **options):
    """The terms of a method, with parameters drawn for these outputs unless they are passed."""
    method = methods.make(name, **options)
    if params is None:
        params = init_fn(method)(jax.random.key(0), student, teacher, student.logits.shape[-1])
    shown = targets(student.logits.shape[-1]) if shown is None else shown
    return jax.jit(terms_fn(method))(params, student, teacher, shown)


def close(actual, expected, rtol=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-6)


def wide(x):
    """In float64."""
    return np.asarray(x, np.float64)


def unit(x):
    """Rows of length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
