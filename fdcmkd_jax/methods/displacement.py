"""Displacement distillation: the differences between examples in feature space."""

import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Terms, adapt, adapter_only, pool, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def displacement(temperature: float = 1.0, axis_name: str | None = None) -> Method:
    r"""Matches the differences between the examples of a batch: their distance and direction.

    .. math:: L = \frac{T^2}{N (N - 1)} \sum_{i \ne j} \mathrm{KL}(\sigma((t_j - t_i) / T) \Vert
        \sigma((s_j - s_i) / T))

    Confirmed: the displacement of two features is their difference, it is turned into a probability
    distribution, and distributions are compared by this divergence. Our reading, since the text was
    not at hand: the softmax runs over the D features of one displacement, at temperature T, and the
    mean over all ordered pairs. If the widths differ, a linear map brings the student's features to
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
        """The vectors from each row of this device to each row of the batch, ``[N, G, D]``."""
        pooled = pool(at_least_float32(features))
        return batch.gather(pooled, axis_name)[None] - pooled[:, None]

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        s = displacements(adapt(params["adapter"], student.features))
        t = displacements(teacher.features)
        flat = [x.reshape(-1, x.shape[-1]) for x in (s, t)]
        divergence = losses.soft_divergence(*flat, temperature=temperature).reshape(s.shape[:2])
        pairs = batch.partners(targets.mask, axis_name)
        num_partners = jnp.maximum(batch.count(targets.mask, axis_name) - 1, 1)
        return {"displacement": jnp.sum(jnp.where(pairs, divergence, 0), axis=1) / num_partners}

    return stateless(terms, names=("displacement",), init=adapter_only())
