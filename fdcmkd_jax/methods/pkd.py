"""PKD: features compared by correlation, channel by channel."""

import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import (
    Method,
    Needs,
    Terms,
    adapt,
    adapter_only,
    read,
    resize,
    stateless,
)
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

EPSILON = 1e-6
"""Constant added to the standard deviation, as in the public code."""


def pkd(stage: str = "", axis_name: str | None = None) -> Method:
    r"""Matches each channel's pattern over batch and positions, whatever its scale and mean.

    .. math:: \ell_n = \frac{1}{2D} \sum_d (n(s)_{nd} - n(t)_{nd})^2

    where n standardizes a channel over the batch and all positions (deviation with M - 1): one
    minus Pearson's correlation, up to (M - 1) / M. If the widths differ, a linear map (on maps a
    1x1 convolution) brings the student's features to the teacher's width; if the map sizes differ,
    the student's map is resized to the teacher's.

    Args:
        stage: Name of the map; empty for the pooled features.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        feature: ``[N]``. Weights in the public code: 1; 6 and 10 for detectors.

    Raises:
        ConfigError: From ``init``, if a model has no such stage.

    Source: arXiv 2207.02039; open-mmlab/mmrazor.
    """

    def standardize(x: Array, mask: Array) -> Array:
        mean, variance, size = batch.moments(x, mask, axis_name)
        unbiased = variance * size / jnp.maximum(size - 1, 1)
        return (x - mean) / (jnp.sqrt(jnp.maximum(unbiased, EPSILON**2)) + EPSILON)

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        t = at_least_float32(read(teacher, stage))
        s = resize(adapt(params["adapter"], read(student, stage)), t)
        s, t = (standardize(x, targets.mask) for x in (s, t))
        return {"feature": losses.mean_squared_error(s, t) / 2}

    return stateless(
        terms,
        names=("feature",),
        init=adapter_only(stage),
        map_terms=frozenset({"feature"} if stage else ()),
        needs=Needs(teacher_maps=bool(stage)),
        dense=True,
    )
