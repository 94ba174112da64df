"""Every loss of a student and a teacher, with its NumPy version."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fdcmkd_jax import losses


def normal(seed, *shape, dtype=jnp.float32, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).normal(0.3, 1.0, shape), dtype)


# Compiled once for all tests: one by one the operations take seconds.
compiled = functools.cache(jax.jit)


def low(student, teacher):
    return losses.frequency_distances(student, teacher)["low"]


def high(student, teacher):
    return losses.frequency_distances(student, teacher)["high"]
