"""Dtypes of activations, by name."""

import jax.numpy as jnp


def float_dtype(name: str) -> jnp.dtype:
    """Returns the dtype of activations that a config names.

    Raises:
        ValueError: If the name is unknown, or the dtype not switched on.
    """
    known = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}
    if name not in known:
        raise ValueError(f"dtype must be one of {sorted(known)}, got {name!r}.")
    if name == "float64" and jnp.zeros(()).dtype != jnp.float64:
        raise ValueError("dtype float64 needs JAX_ENABLE_X64=1 in the environment.")
    return jnp.dtype(known[name])
