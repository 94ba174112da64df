"""Robust decouple loss: a feature's direction and its length apart."""

import jax.numpy as jnp
import optax
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, adapt, adapter_only
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def decouple() -> Method:
    r"""Matches where a feature points, and apart from that how long it is.

    .. math::
        L_{angle} = 1 - \cos(s, t), \quad
        L_{length} = h(\lVert s \rVert_2 - \lVert t \rVert_2)

    That the two are taken apart and that the loss is robust is the paper's; the cosine for the
    angle and Huber's loss h (delta 1) for the length are our reading, since its text was not at
    hand. Where the widths differ the student's features pass a linear map to the teacher's width.

    Terms:
        angle: ``[N]``, in [0, 2]; the mean over frames or positions if there are any.
        length: ``[N]``, in feature units (squared below 1).

    Source: arXiv 2306.15321.
    """

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        del targets
        s = at_least_float32(adapt(params["adapter"], student.features))
        t = at_least_float32(teacher.features)
        length_s, length_t = losses.norm(s)[..., 0], losses.norm(t)[..., 0]
        cosine = jnp.sum(s * t, axis=-1) / (length_s * length_t)
        found = {"angle": 1 - cosine, "length": optax.huber_loss(length_s, length_t)}
        return {
            name: jnp.mean(value, axis=tuple(range(1, value.ndim))) for name, value in found.items()
        }

    return Method(init=adapter_only(), terms=terms, names=("angle", "length"))
