"""Relational knowledge distillation: distances and angles between the examples of a batch."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Terms, pool, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def rkd(axis_name: str | None = None) -> Method:
    r"""Matches the geometry of the batch in feature space, so widths may differ.

    .. math::
        L_{distance} = \frac{1}{N^2} \sum_{ij} h(d^s_{ij}, d^t_{ij}), \quad
        L_{angle} = \frac{1}{N^3} \sum_{ijk} h(\langle u^s_{ij}, u^s_{ik} \rangle,
        \langle u^t_{ij}, u^t_{ik} \rangle)

    where h is Huber's loss (delta 1), d the distance of two pooled features over the mean distance
    of all pairs, and u the unit vector from one example to another.

    Args:
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        distance: ``[N]``, the mean over pairs with the example; weight 25 in the public codes.
        angle: ``[N]``, the mean over the angles at this example; weight 50.

    Source: arXiv 1904.05068; megvii-research/mdistiller (clamp and weights).
    """

    def relations(features: Array, mask: Array) -> tuple[Array, Array]:
        """Distances ``[N, G]`` and cosines of the angles ``[N, G, G]``."""
        pooled = pool(at_least_float32(features))
        # The vector from each row of this device to each row of the batch, [N, G, D].
        step = batch.gather(pooled, axis_name)[None] - pooled[:, None]
        pairs = batch.partners(mask, axis_name)
        distance = jnp.where(pairs, losses.norm(step, epsilon=1e-6)[..., 0], 0)
        # The mean distance over all pairs of the batch.
        num_pairs = batch.total(jnp.sum(pairs, axis=1).astype(jnp.float32), mask, axis_name)
        mean = batch.total(jnp.sum(distance, axis=1), mask, axis_name) / jnp.maximum(num_pairs, 1)
        direction = step / losses.norm(step)
        angle = jnp.einsum("njd,nkd->njk", direction, direction)
        # Without a single pair the mean is 0, and so is every distance.
        return distance / jnp.where(mean > 0, mean, 1), angle

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del params
        mask = targets.mask
        valid, size = batch.gather(mask, axis_name), batch.count(mask, axis_name)
        (distance_s, angle_s), (distance_t, angle_t) = (
            relations(outputs.features, mask) for outputs in (student, teacher)
        )
        triples = valid[:, None] & valid[None, :]
        return {
            "distance": _masked_sum(optax.huber_loss(distance_s, distance_t), valid) / size,
            "angle": _masked_sum(optax.huber_loss(angle_s, angle_t), triples) / size**2,
        }

    return stateless(terms, names=("distance", "angle"))


def _masked_sum(x: Float[Array, "N *rest"], kept: Bool[Array, "*rest"]) -> Float[Array, " N"]:
    """Sums over all but the first axis where ``kept`` is true."""
    return jnp.sum(jnp.where(kept[None], x, 0), axis=tuple(range(1, x.ndim)))
