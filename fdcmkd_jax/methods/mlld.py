"""Multi-level logit distillation: examples, classes and batches."""

from collections.abc import Sequence
from numbers import Real

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Terms, needs_one_prediction, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def mlld(
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0), axis_name: str | None = None
) -> Method:
    r"""Matches softened predictions, the relations between classes, and those between examples.

    .. math::
        L_{instance} = T^2 \, \mathrm{KL}(Q \Vert P), \quad
        L_{class} = \tfrac{1}{K} \lVert P^T P - Q^T Q \rVert_F^2, \quad
        L_{batch} = \tfrac{1}{N} \lVert P P^T - Q Q^T \rVert_F^2

    each averaged over the temperatures. Two parts of the public code are left out: the second,
    strongly augmented view of each example, and the confidence masks, which there only rescale
    whole terms.

    Args:
        temperatures: Positive; at least one.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        instance: ``[N]``.
        class: ``[N]``, the same for every example, since it describes the whole batch.
        batch: ``[N]``, the example's row of the matrix, so that rows average to the formula.

    Raises:
        ValueError: If there is no temperature or one is not a positive number, or from ``init`` if
            the logits do not have shape ``[N, K]``.

    Source: Jin-Ying/Multi-Level-Logit-Distillation (CVPR 2023). Gray-OREO/MST-Distill's variant has
    weights 1/3, 1/(3K) and 1/(3N).
    """
    if not temperatures or not all(isinstance(t, Real) for t in temperatures):
        raise ValueError(f"temperatures must be a list of numbers, got {temperatures!r}.")
    for temperature in temperatures:
        losses.check_temperature(temperature)

    def levels(temperature: float, student: Array, teacher: Array, mask: Array) -> list[Array]:
        """The three terms at one temperature, in the order of ``names``."""
        p, q = (jax.nn.softmax(logits / temperature) for logits in (student, teacher))
        valid = batch.gather(mask, axis_name)[:, None]
        all_p, all_q = (jnp.where(valid, batch.gather(x, axis_name), 0) for x in (p, q))
        classes = jnp.sum(jnp.square(all_p.T @ all_p - all_q.T @ all_q)) / p.shape[-1]
        examples = jnp.sum(jnp.square(p @ all_p.T - q @ all_q.T), axis=1)
        return [
            losses.soft_divergence(student, teacher, temperature=temperature),
            jnp.broadcast_to(classes, mask.shape),
            examples,
        ]

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del params
        s, t = (at_least_float32(outputs.logits) for outputs in (student, teacher))
        by_temperature = [levels(temperature, s, t, targets.mask) for temperature in temperatures]
        return {
            name: sum(values, start=jnp.zeros(())) / len(temperatures)
            for name, values in zip(names, zip(*by_temperature, strict=True), strict=True)
        }

    names = ("instance", "class", "batch")
    return stateless(terms, names=names, init=needs_one_prediction("mlld"))
