"""Decoupled knowledge distillation: the target class and the other classes, separately."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, Terms, needs_one_prediction, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

EXCLUDED = -1e9
"""A logit whose probability is exactly 0, yet finite: a difference of infinities is NaN."""


def dkd(temperature: float = 4.0) -> Method:
    r"""Matches the target's probability and, separately, the distribution over the other classes.

    .. math::
        L_{target} = T^2 \, \mathrm{KL}([b_t, 1 - b_t] \Vert [b_s, 1 - b_s]), \quad
        L_{other} = T^2 \, \mathrm{KL}(\hat q \Vert \hat p)

    where b is the target's probability and the hats are softmaxes over the other classes. The
    public code's warm-up of the weights over the first 20 epochs is left out: weights are constant.

    Args:
        temperature: T, positive.

    Terms:
        target: ``[N]``; weight alpha in the paper, 1.
        other: ``[N]``; weight beta, 8 in the paper for CIFAR-100, and T = 1 with 0.5 for ImageNet.
            Zero if there are two classes.

    Raises:
        ValueError: If the temperature is not positive, or from ``init`` if the logits do not have
            shape ``[N, K]``.

    Source: arXiv 2203.08679; megvii-research/mdistiller.
    """
    losses.check_temperature(temperature)

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del params
        is_target = jax.nn.one_hot(targets.labels, targets.num_classes, dtype=bool)
        logits = [at_least_float32(outputs.logits) for outputs in (student, teacher)]
        binary = [_against_the_rest(z / temperature, is_target) for z in logits]
        others = [jnp.where(is_target, EXCLUDED, z) for z in logits]
        return {
            "target": temperature**2 * losses.soft_divergence(*binary, temperature=1.0),
            "other": losses.soft_divergence(*others, temperature=temperature),
        }

    names = ("target", "other")
    return stateless(
        terms, names=names, init=needs_one_prediction("dkd"), label_terms=frozenset(names)
    )


def _against_the_rest(
    logits: Float[Array, "N K"], is_target: Bool[Array, "N K"]
) -> Float[Array, "N 2"]:
    """Computes the logits of a choice between the target and all other classes together."""
    target = jnp.sum(jnp.where(is_target, logits, 0), axis=-1)
    rest = jax.nn.logsumexp(jnp.where(is_target, EXCLUDED, logits), axis=-1)
    return jnp.stack([target, rest], axis=-1)
