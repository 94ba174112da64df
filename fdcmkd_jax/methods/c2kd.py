"""C2KD: teacher and student both learn, through proxies that distill where they agree."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import (
    Method,
    Needs,
    Terms,
    check_one_prediction,
    dense,
    init_dense,
    pool,
    read,
    stateless,
)
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

SLOPE = 0.1
"""Slope of a proxy's activation below zero."""


def c2kd(stage: str = "stage3", threshold: float = 0.0, axis_name: str | None = None) -> Method:
    r"""Distills both ways between proxies, where their rankings of the classes agree.

    .. math::
        L_{proxy} &= \mathrm{KL}(\bar z \Vert g) + \mathrm{KL}(\bar g \Vert z) \\
        L_{exchange} &= m \left( \mathrm{KL}(\bar g^t_{\setminus y} \Vert g^s_{\setminus y})
            + \mathrm{KL}(\bar g^s_{\setminus y} \Vert g^t_{\setminus y}) \right)

    where z is a network's own prediction and g its proxy's: a small classifier on the stage's
    pooled map (dense, BatchNorm, leaky ReLU, dense). A bar stops the gradient. The target class is
    taken out by setting its logit to 0, so it keeps a share of the softmax, as in the public code.
    m is 1 where Kendall's tau-b between the two proxies' logits exceeds the threshold, else 0 (also
    where it is not defined); the mean is over all examples, not over the selected ones.

    The teacher is trained by the same optimizer, in training mode: its BatchNorms use the
    statistics of the batch. Those of the proxies do too and keep no running statistics, because no
    proxy is used at test time.

    Args:
        stage: The map that the proxies read; the third of four in the public code.
        threshold: Threshold on tau-b, in [-1, 1); 0 in the public code.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        teacher: ``[N]``, the teacher's own loss; this and all other weights 1.
        teacher_proxy: ``[N]``, between the teacher and its proxy, both ways.
        student_proxy: ``[N]``, between the student and its proxy, both ways.
        exchange: ``[N]``, between the proxies, both ways; 0 where not selected.

    Raises:
        ValueError: If the threshold is outside [-1, 1), or from ``init`` if there is no teacher
            or the logits do not have shape ``[N, K]``.
        ConfigError: From ``init``, if a model has no such stage.

    Source: CVPR 2024, huofushuo/C2KD.
    """
    if not -1.0 <= threshold < 1.0:
        raise ValueError(f"threshold must lie in [-1, 1), got {threshold}.")

    def proxy(params: Params, outputs: Outputs, mask: Array) -> Float[Array, "N K"]:
        hidden = pool(at_least_float32(read(outputs, stage))) @ params["kernel"]
        hidden = batch.normalize(params["norm"], hidden, mask, axis_name)
        return dense(params["last"], jax.nn.leaky_relu(hidden, SLOPE))

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        return distances(
            student.logits,
            teacher.logits,
            proxy(params["student"], student, targets.mask),
            proxy(params["teacher"], teacher, targets.mask),
            targets,
            threshold,
        )

    return stateless(
        terms,
        names=("teacher", "teacher_proxy", "student_proxy", "exchange"),
        init=functools.partial(_init, stage),
        label_terms=frozenset({"teacher", "exchange"}),
        map_terms=frozenset({"student_proxy", "exchange"}),
        needs=Needs(trained_teacher=True, teacher_maps=True),
    )


def _init(
    stage: str, key: Array, student: Outputs, teacher: Outputs | None, num_classes: int
) -> Params:
    """Draws the two proxies."""
    check_one_prediction("c2kd", student)
    if teacher is None:
        raise ValueError("c2kd needs a teacher to train.")
    keys = jax.random.split(key)
    return {
        side: _init_proxy(side_key, read(outputs, stage).shape[-1], num_classes)
        for side_key, (side, outputs) in zip(
            keys, {"student": student, "teacher": teacher}.items(), strict=True
        )
    }


def distances(
    student: Float[Array, "N K"],
    teacher: Float[Array, "N K"],
    student_proxy: Float[Array, "N K"],
    teacher_proxy: Float[Array, "N K"],
    targets: Targets,
    threshold: float,
) -> dict[str, Float[Array, " N"]]:
    """Computes the terms of `c2kd` from its four predictions.

    Args:
        student: The student's logits.
        teacher: The teacher's logits.
        student_proxy: Logits of the student's proxy.
        teacher_proxy: Logits of the teacher's proxy.
        targets: Labels and their loss.
        threshold: Threshold on tau-b.

    Returns:
        ``{name: [N]}``.
    """
    label = jax.nn.one_hot(targets.labels, targets.num_classes)
    others = [(1 - label) * at_least_float32(x) for x in (student_proxy, teacher_proxy)]
    selected = rank_correlation(student_proxy, teacher_proxy) > threshold
    return {
        "teacher": targets.loss(teacher),
        "teacher_proxy": _both_ways(teacher, teacher_proxy),
        "student_proxy": _both_ways(student, student_proxy),
        "exchange": jnp.where(selected, _both_ways(*others), 0),
    }


def rank_correlation(x: Float[Array, "N K"], y: Float[Array, "N K"]) -> Float[Array, " N"]:
    """Computes Kendall's tau-b between the rows of two arrays, all pairs at once.

    Args:
        x: Shape ``[N, K]``.
        y: The same shape.

    Returns:
        Shape ``[N]``, in [-1, 1]; NaN where a row is constant. It has no gradient.

    Examples:
        >>> rank_correlation(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, 3.0, 2.0]])).round(3)
        Array([0.333], dtype=float32)
    """
    # +1, 0 or -1 for each pair of classes; ties are pairs of 0.
    signs = [
        lax.stop_gradient(jnp.sign(z[:, :, None] - z[:, None, :])).astype(jnp.float32)
        for z in (x, y)
    ]
    agreement = jnp.sum(signs[0] * signs[1], axis=(1, 2))
    untied = [jnp.sum(jnp.abs(sign), axis=(1, 2)) for sign in signs]
    return agreement / jnp.sqrt(untied[0] * untied[1])


def _both_ways(x: Float[Array, "N K"], y: Float[Array, "N K"]) -> Float[Array, " N"]:
    """Sums each prediction's divergence from the other, which is held fixed."""
    return losses.soft_divergence(y, lax.stop_gradient(x), temperature=1.0) + (
        losses.soft_divergence(x, lax.stop_gradient(y), temperature=1.0)
    )


def _init_proxy(key: Array, width: int, num_classes: int) -> dict[str, Any]:
    """Draws a proxy: a bias-free dense layer (Kaiming-normal, fan-out), BatchNorm, a classifier."""
    first, last = jax.random.split(key)
    kaiming = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    return {
        "kernel": kaiming(first, (width, width), jnp.float32),
        "norm": batch.init_normalize(width),
        "last": init_dense(last, width, num_classes),
    }
