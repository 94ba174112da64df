"""MGDFR: the teacher keeps only the features on which both modalities agree."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

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
)
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

DECAY = 0.9
"""Decay of the running salience, because early batches rank channels of networks that disagree."""


def mgdfr(
    align_steps: int = 100,
    frozen: float = 0.75,
    temperature: float = 4.0,
    axis_name: str | None = None,
) -> Method:
    r"""Aligns teacher and student, ranks the teacher's channels by agreement, distills the best.

    For ``align_steps`` steps teacher and student are trained together: each on the labels, and on
    the squared difference of their logits. The salience of a channel of the teacher's features is
    the mean increase of that difference when the channel is permuted over the batch. After these
    steps the least salient channels are replaced by their mean over the batch, and the student
    learns from the prediction of the teacher's classifier on the rest.

    Differences from the public code: the salience is the average over all permutations, in closed
    form, instead of over 10 draws, and a running mean over the batches of the alignment. The
    teacher's classifier is the method's own dense layer on the pooled features, because a method
    reads the outputs of models and not their layers. The aligned student is trained further instead
    of a fresh one. After ``align_steps`` the teacher gets no gradient, but momentum and weight
    decay still move its parameters, and its BatchNorms still use the statistics of the batch.

    Args:
        align_steps: Number of steps of joint training, at least 1.
        frozen: Share of the channels that are replaced, rounded down, in [0, 1).
        temperature: T of the distillation, positive; 1 in the original, 4 in MST-Distill.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        teacher: ``[N]``, the teacher's own loss while aligning, then 0.
        agreement: ``[N]``, mean squared difference of the logits while aligning, then 0.
        divergence: ``[N]``, divergence of the student from the edited teacher; 0 while aligning.

    Raises:
        ValueError: If a value is out of its range, or from ``init`` if there is no teacher or the
            logits do not have shape ``[N, K]``.

    Source: arXiv 2206.06487; zihuixue/MFH, Gray-OREO/MST-Distill.
    """
    if align_steps < 1:
        raise ValueError(f"align_steps must be positive, got {align_steps}.")
    if not 0.0 <= frozen < 1.0:
        raise ValueError(f"frozen must lie in [0, 1), got {frozen}.")
    losses.check_temperature(temperature)

    def terms(
        params: Params, memory: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> tuple[Terms, Params]:
        classifier, mask = params["classifier"], targets.mask
        features, logits = (at_least_float32(x) for x in (pool(teacher.features), student.logits))
        teacher_logits = dense(classifier, features)
        aligning = memory["step"] < align_steps
        # The salience so far ranks the channels; this batch's enters the running mean.
        error = teacher_logits - logits
        batch_salience = salience(features, classifier["kernel"], error, mask, axis_name)
        running = DECAY * memory["salience"] + (1 - DECAY) * batch_salience
        edited = freeze(features, least(memory["salience"], frozen), mask, axis_name)
        goal = lax.stop_gradient(dense(classifier, edited))
        after = {
            "salience": jnp.where(aligning, running, memory["salience"]),
            "step": memory["step"] + 1,
        }
        distance = losses.soft_divergence(logits, goal, temperature=temperature)
        agreement = losses.mean_squared_error(logits, teacher_logits)
        return {
            "teacher": jnp.where(aligning, targets.loss(teacher_logits), 0),
            "agreement": jnp.where(aligning, agreement, 0),
            "divergence": jnp.where(aligning, 0, distance),
        }, after

    return Method(
        init=_init,
        terms=terms,
        names=("teacher", "agreement", "divergence"),
        label_terms=frozenset({"teacher"}),
        needs=Needs(trained_teacher=True),
    )


def _init(
    key: Array,
    student: Outputs,
    teacher: Outputs | None,
    num_classes: int,
    train_targets: Targets | None = None,
) -> tuple[Params, Params]:
    """Draws the teacher's classifier; the salience starts at zero."""
    del train_targets
    check_one_prediction("mgdfr", student)
    if teacher is None:
        raise ValueError("mgdfr needs a teacher to train.")
    size = teacher.features.shape[-1]
    params = {"classifier": init_dense(key, size, num_classes)}
    return params, {"salience": jnp.zeros(size), "step": jnp.zeros((), jnp.int32)}


def salience(
    features: Float[Array, "N D"],
    kernel: Float[Array, "D K"],
    error: Float[Array, "N K"],
    mask: Bool[Array, " N"],
    axis_name: str | None,
) -> Float[Array, " D"]:
    r"""Computes how much permuting a channel over the batch moves a classifier from other logits.

    .. math:: \frac1K \left( 2 \, \mathrm{Var}(x_c) \lVert W_c \rVert^2
        - 2 \, \mathrm{Cov}(x_c, \langle e, W_c \rangle) \right)

    which is the mean squared error of the logits averaged over all permutations, minus the error
    without a permutation.

    Args:
        features: Shape ``[N, D]``.
        kernel: Kernel of the linear classifier, ``[D, K]``.
        error: The classifier's logits minus the other logits, ``[N, K]``.
        mask: Rows that are not padding.
        axis_name: The mapped axis.

    Returns:
        Shape ``[D]``, without a gradient.
    """
    features, kernel, error = lax.stop_gradient((features, kernel, error))
    mean, variance, rows = batch.moments(features, mask, axis_name)
    along = (features - mean) * (error @ kernel.T)
    covariance = batch.total(along, mask, axis_name) / rows
    spread = variance[0] * jnp.sum(jnp.square(kernel), axis=1)
    return 2 * (spread - covariance) / kernel.shape[1]


def least(values: Float[Array, " D"], share: float) -> Bool[Array, " D"]:
    """Marks the lowest share of the entries, rounded down; of equal entries the first."""
    ranks = jnp.argsort(jnp.argsort(values))
    return ranks < int(share * len(values))


def freeze(
    features: Float[Array, "N D"],
    chosen: Bool[Array, " D"],
    mask: Bool[Array, " N"],
    axis_name: str | None,
) -> Float[Array, "N D"]:
    """Replaces the chosen channels of the features by their mean over the batch."""
    mean = batch.moments(features, mask, axis_name)[0]
    return jnp.where(chosen[None], mean, features)
