"""Displacement distillation: how one gets from an example to another in feature space."""

import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, adapt, adapter_only, pool
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def displacement(temperature: float = 1.0, axis_name: str | None = None) -> Method:
    r"""Matches the differences between the examples of a batch: their distance and their direction.

    .. math:: L = \frac{T^2}{N (N - 1)} \sum_{i \ne j} \mathrm{KL}(\sigma((t_j - t_i) / T) \Vert
        \sigma((s_j - s_i) / T))

    Confirmed: the displacement of two features is their difference, it is turned into a probability
    distribution, and distributions are compared by this divergence. Our reading, since the text was
    not at hand: the softmax runs over the D features of one displacement, at temperature T, and the
    mean over all ordered pairs. Where the widths differ the student's features pass a linear map to
    the teacher's width.

    Args:
        temperature: T, positive.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        displacement: ``[N]``, the mean over the pairs that start at the example.

    Raises:
        ValueError: If the temperature is not positive.

    Source: arXiv 2412.11017.
    """
    losses.check_temperature(temperature)

    def displacements(features: Array) -> Array:
        own = pool(at_least_float32(features))
        return batch.gather(own, axis_name)[None] - own[:, None]

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        s = displacements(adapt(params["adapter"], student.features))
        t = displacements(teacher.features)
        flat = [x.reshape(-1, x.shape[-1]) for x in (s, t)]
        divergence = losses.soft_divergence(*flat, temperature=temperature).reshape(s.shape[:2])
        pairs = batch.partners(targets.mask, axis_name)
        others = jnp.maximum(batch.count(targets.mask, axis_name) - 1, 1)
        return {"displacement": jnp.sum(jnp.where(pairs, divergence, 0), axis=1) / others}

    return Method(init=adapter_only(), terms=terms, names=("displacement",))
