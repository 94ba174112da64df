"""DIST: distillation from a stronger teacher by correlation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Terms, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

EPSILON = 1e-8
"""Constant added to the product of two norms, as in the public code, not a clamp."""


def dist(temperature: float = 1.0, axis_name: str | None = None) -> Method:
    r"""Matches the teacher's preferences up to scale and shift, not its probabilities.

    .. math::
        L_{inter} = \tau^2 (1 - \rho(p_{n:}, q_{n:})), \quad
        L_{intra} = \tau^2 (1 - \rho(p_{:k}, q_{:k}))

    with Pearson's correlation, between the classes of one example and between the examples of the
    batch for one class. Every position of dense logits counts as an example of its own.

    Args:
        temperature: tau, positive; its square scales both terms.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        inter: ``[N]``, between classes; weight beta in the paper, 1.
        intra: ``[N]``, each example's share of the correlation over the batch, so that shares
            average to the paper's value; weight gamma, 1.

    Raises:
        ValueError: If the temperature is not positive.

    Source: arXiv 2205.10536; tau as in Hao840/OFAKD, 1 in hunto/DIST_KD.
    """
    losses.check_temperature(temperature)

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del params
        p, q = (
            jax.nn.softmax(at_least_float32(outputs.logits) / temperature)
            for outputs in (student, teacher)
        )
        scale = temperature**2
        return {
            "inter": scale * _inter(p, q),
            "intra": scale * _intra(p, q, targets.mask, axis_name),
        }

    return stateless(terms, names=("inter", "intra"), dense=True)


def _inter(p: Array, q: Array) -> Array:
    """One minus the correlation over the classes."""
    a, b = (x - jnp.mean(x, axis=-1, keepdims=True) for x in (p, q))
    norms = losses.norm(a, epsilon=1e-12) * losses.norm(b, epsilon=1e-12)
    return 1 - _example_mean(jnp.sum(a * b, axis=-1, keepdims=True) / (norms + EPSILON))


def _intra(p: Array, q: Array, mask: Array, axis_name: str | None) -> Array:
    """One minus each example's share of the correlation over the batch."""
    (mean_p, var_p, size), (mean_q, var_q, _) = (batch.moments(x, mask, axis_name) for x in (p, q))
    # The clamp sits under each root, as in losses.norm; that of the product would underflow.
    norm_p, norm_q = (jnp.sqrt(jnp.maximum(size * x, 1e-24)) for x in (var_p, var_q))
    norms = norm_p * norm_q
    return 1 - _example_mean(size * (p - mean_p) * (q - mean_q) / (norms + EPSILON))


def _example_mean(x: Array) -> Array:
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))
