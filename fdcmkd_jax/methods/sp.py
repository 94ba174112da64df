"""SP, similarity-preserving distillation: examples that are alike to the teacher stay alike."""

import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Needs, Terms, no_params, read, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def sp(stage: str = "", axis_name: str | None = None) -> Method:
    r"""Matches the matrix of similarities between the examples of a batch, so sizes may differ.

    .. math:: L = \frac{1}{N^2} \lVert G^t - G^s \rVert_F^2, \quad G_{n:} = A_{n:} / \lVert A_{n:}
        \rVert_2, \quad A = F F^T

    where a row of F is one example's features or flattened map.

    Args:
        stage: Name of the map; empty for the features. The paper takes the last convolution's map.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        similarity: ``[N]``, one row's squared differences over N; weight 3000 in the paper.

    Raises:
        ConfigError: From ``init``, if a model has no such stage.

    Source: arXiv 1907.09682.
    """

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        for outputs in (student, teacher):
            if outputs is not None:
                read(outputs, stage)  # Reports a missing stage before the first step.
        return no_params(key, student, teacher, num_classes)

    def similarities(outputs: Outputs, mask: Array) -> Array:
        """One row of G for each row of this device, ``[N, G]``; columns of padding are 0."""
        flat = at_least_float32(read(outputs, stage)).reshape(len(mask), -1)
        products = flat @ batch.gather(flat, axis_name).T
        products = jnp.where(batch.gather(mask, axis_name)[None], products, 0)
        return products / losses.norm(products)

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del params
        error = similarities(student, targets.mask) - similarities(teacher, targets.mask)
        size = batch.count(targets.mask, axis_name)
        return {"similarity": jnp.sum(jnp.square(error), axis=1) / size}

    return stateless(
        terms,
        names=("similarity",),
        init=init,
        map_terms=frozenset({"similarity"} if stage else ()),
        needs=Needs(teacher_maps=bool(stage)),
    )
