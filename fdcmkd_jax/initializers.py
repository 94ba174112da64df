"""How kernels start."""

import jax

xavier_normal = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal")
"""PyTorch's Xavier-normal; JAX's ``glorot_normal`` is truncated at two deviations."""
