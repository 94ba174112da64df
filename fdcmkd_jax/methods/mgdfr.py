"""MGDFR: the teacher keeps only the features on which both modalities decide alike."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, dense, init_dense, needs_one_prediction, pool
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

DECAY = 0.9
"""Of the running salience: early batches rank channels of networks that do not yet agree."""


def mgdfr(
    align_steps: int = 100,
    frozen: float = 0.75,
    temperature: float = 4.0,
    axis_name: str | None = None,
) -> Method:
    r"""Aligns teacher and student, ranks the teacher's channels by it, and distils the best.

    For ``align_steps`` steps teacher and student are trained together: each on the labels, and on
    the squared difference of their logits. The salience of a channel of the teacher's features is
    how far apart the logits come, on average, when that channel is permuted over the batch. From
    then on the least salient channels are replaced by their mean over the batch, and the student
    learns from what the teacher's classifier says of the rest.

    Differs from the public code in this: the salience is the average over all permutations, in
    closed form, where that draws 10, and is gathered while aligning, newest batches most. The
    teacher's classifier is the method's own dense layer on the pooled features, since a method sees
    what models return and not their layers. Left out: a fresh student for the second part; here the
    aligned one goes on. After ``align_steps`` the teacher gets no gradient, but what momentum and
    weight decay do to a parameter without one still happens to it, and its BatchNorms go on taking
    the batch's statistics.

    Args:
        align_steps: How many steps teacher and student are trained together, at least 1.
        frozen: Share of the channels that is replaced, rounded down, in [0, 1).
        temperature: T of the distillation, positive; 1 in the original, 4 in MST-Distill.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        teacher: ``[N]``, the teacher's own loss while aligning, then 0.
        agreement: ``[N]``, mean squared difference of the logits while aligning, then 0.
        divergence: ``[N]``, the student's from the edited teacher; 0 while aligning.

    Raises:
        ValueError: If a value is out of its range, or when started without a teacher or on logits
            of another shape than ``[N, K]``.

    Source: arXiv 2206.06487; zihuixue/MFH, Gray-OREO/MST-Distill.
    """
    if align_steps < 1:
        raise ValueError(f"align_steps must be positive, got {align_steps}.")
    if not 0.0 <= frozen < 1.0:
        raise ValueError(f"frozen must lie in [0, 1), got {frozen}.")
    losses.check_temperature(temperature)
    check = needs_one_prediction("mgdfr")

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        check(key, student, teacher, num_classes)
        if teacher is None:
            raise ValueError("mgdfr needs a teacher to train.")
        return {"classifier": init_dense(key, teacher.features.shape[-1], num_classes)}

    def init_memory(key: Array, params: Params, everyone: Targets) -> Params:
        del key, everyone
        size = params["classifier"]["kernel"].shape[0]
        return {"salience": jnp.zeros(size), "step": jnp.zeros((), jnp.int32)}

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets, memory: Params
    ) -> tuple[dict[str, Array], Params]:
        classifier, mask = params["classifier"], targets.mask
        features, logits = (at_least_float32(x) for x in (pool(teacher.features), student.logits))
        taught_by = dense(classifier, features)
        aligning = memory["step"] < align_steps
        found = salience(features, classifier["kernel"], taught_by - logits, mask, axis_name)
        running = DECAY * memory["salience"] + (1 - DECAY) * found
        edited = freeze(features, least(memory["salience"], frozen), mask, axis_name)
        wanted = lax.stop_gradient(dense(classifier, edited))
        after = {
            "salience": jnp.where(aligning, running, memory["salience"]),
            "step": memory["step"] + 1,
        }
        distance = losses.soft_divergence(logits, wanted, temperature=temperature)
        return {
            "teacher": jnp.where(aligning, targets.loss(taught_by), 0),
            "agreement": jnp.where(aligning, losses.mean_squared_error(logits, taught_by), 0),
            "divergence": jnp.where(aligning, 0, distance),
        }, after

    return Method(
        init=init,
        terms=terms,
        names=("teacher", "agreement", "divergence"),
        label_terms=frozenset({"teacher"}),
        init_memory=init_memory,
        trains_teacher=True,
    )


def salience(
    features: Float[Array, "N D"],
    kernel: Float[Array, "D K"],
    error: Float[Array, "N K"],
    mask: Bool[Array, " N"],
    axis_name: str | None,
) -> Float[Array, " D"]:
    r"""How much permuting a channel over the batch moves a linear classifier from another's logits.

    .. math:: \frac1K \left( 2 \, \mathrm{Var}(x_c) \lVert W_c \rVert^2
        - 2 \, \mathrm{Cov}(x_c, \langle e, W_c \rangle) \right)

    which is the mean squared error of the logits averaged over all permutations, less what it is
    without any.

    Args:
        features: Shape ``[N, D]``.
        kernel: The classifier's, ``[D, K]``.
        error: The classifier's logits less the other's, ``[N, K]``.
        mask: Rows that are no padding.
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
    """Which entries are among the lowest share, rounded down; of equal ones the first."""
    ranks = jnp.argsort(jnp.argsort(values))
    return ranks < int(share * len(values))


def freeze(
    features: Float[Array, "N D"],
    chosen: Bool[Array, " D"],
    mask: Bool[Array, " N"],
    axis_name: str | None,
) -> Float[Array, "N D"]:
    """The features with the chosen channels replaced by their mean over the batch."""
    mean = batch.moments(features, mask, axis_name)[0]
    return jnp.where(chosen[None], mean, features)
