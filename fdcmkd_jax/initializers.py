"""Initializers of kernels, and keys of named parts."""

import zlib

import jax
from jaxtyping import Array

xavier_normal = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal")
"""PyTorch's Xavier-normal; JAX's ``glorot_normal`` is truncated at two deviations."""


def named_key(key: Array, name: str) -> Array:
    """Derives the key of a named part, which does not depend on the other parts."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
