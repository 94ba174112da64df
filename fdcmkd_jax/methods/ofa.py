"""OFA-KD: features brought into logit space, where architectures that differ are comparable."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import (
    Method,
    Needs,
    Terms,
    check_one_prediction,
    dense,
    init_dense,
    pool,
    stateless,
)
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def ofa(gamma: float = 1.0, temperature: float = 1.0) -> Method:
    r"""Adds a classifier to each stage of the student and matches it to the teacher's prediction.

    .. math::
        \ell_n = -\sum_k \left( (q_{nk} + y_{nk})^\gamma - y_{nk} \right) \log \sigma_k(z_n / T)

    where q is the teacher's prediction at temperature T and y the label, one-hot: with gamma above
    1 the target class counts more. The classifier of a stage is the mean of its map over positions,
    a dense layer to 2K, ReLU, a dense layer to K (MST-Distill's for vectors; the original has
    strided separable convolutions).

    Args:
        gamma: At least 1; 1.5 from DeiT-T to ResNet-18 in the public code. At 1 no label is read.
        temperature: T, positive; there is no factor T^2, as in the public code.

    Terms:
        logits: ``[N]``, of the student's own logits; weight 1.
        stages: ``[N]``, the sum over its stages; weight 1.

    Raises:
        ValueError: If gamma is below 1 or the temperature not positive, or from ``init`` if the
            student has no maps or its logits do not have shape ``[N, K]``.

    Source: arXiv 2310.19444; Hao840/OFAKD, Gray-OREO/MST-Distill.
    """
    losses.check_temperature(temperature)
    if not gamma >= 1:
        raise ValueError(f"gamma must be at least 1, got {gamma}.")

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        goal = jax.nn.softmax(at_least_float32(teacher.logits) / temperature)
        if gamma != 1:
            label = jax.nn.one_hot(targets.labels, targets.num_classes, dtype=goal.dtype)
            goal = (goal + label) ** gamma - label

        def loss(logits: Array) -> Array:
            log_probabilities = jax.nn.log_softmax(at_least_float32(logits) / temperature)
            return -jnp.sum(goal * log_probabilities, axis=-1)

        by_stage = [loss(logits) for logits in _heads(params, student).values()]
        return {"logits": loss(student.logits), "stages": sum(by_stage, start=jnp.zeros(()))}

    names = ("logits", "stages")
    return stateless(
        terms,
        names=names,
        init=_init,
        label_terms=frozenset(names if gamma != 1 else ()),
        map_terms=frozenset({"stages"}),
        heads=_heads,
        needs=Needs(head_maps=True),
    )


def _init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
    """Draws a classifier for each stage."""
    del teacher
    check_one_prediction("ofa", student)
    if not student.maps:
        raise ValueError("ofa needs a student with maps of its stages.")
    params = {}
    keys = jax.random.split(key, 2 * len(student.maps)).reshape(-1, 2)
    for (hidden, last), stage in zip(keys, sorted(student.maps), strict=True):
        width = student.maps[stage].shape[-1]
        params[stage] = {
            "hidden": init_dense(hidden, width, 2 * num_classes),
            "last": init_dense(last, 2 * num_classes, num_classes),
        }
    return params


def _heads(params: Params, student: Outputs) -> dict[str, Array]:
    return {stage: _classify(params[stage], student.maps[stage]) for stage in params}


def _classify(params: Params, features: Float[Array, "N h w c"]) -> Float[Array, "N K"]:
    hidden = jax.nn.relu(dense(params["hidden"], pool(at_least_float32(features))))
    return dense(params["last"], hidden)
