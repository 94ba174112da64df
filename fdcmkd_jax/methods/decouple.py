"""Robust decouple loss: the direction and the length of a feature, compared separately."""

import jax.numpy as jnp
import optax

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, Terms, adapt, adapter_only, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def decouple() -> Method:
    r"""Matches the direction of a feature and, in a term of its own, its length.

    .. math::
        L_{angle} = 1 - \cos(s, t), \quad
        L_{length} = h(\lVert s \rVert_2 - \lVert t \rVert_2)

    The separation of the two, and a robust loss, are the paper's. The cosine for the angle and
    Huber's loss h (delta 1) for the length are our reading, since its text was not at hand. If the
    widths differ, a linear map brings the student's features to the teacher's width.

    Terms:
        angle: ``[N]``, in [0, 2]; the mean over frames or positions if there are any.
        length: ``[N]``, in feature units (squared below 1).

    Source: arXiv 2306.15321.
    """

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del targets
        s = at_least_float32(adapt(params["adapter"], student.features))
        t = at_least_float32(teacher.features)
        length_s, length_t = losses.norm(s)[..., 0], losses.norm(t)[..., 0]
        cosine = jnp.sum(s * t, axis=-1) / (length_s * length_t)
        distances = {"angle": 1 - cosine, "length": optax.huber_loss(length_s, length_t)}
        return {
            name: jnp.mean(value, axis=tuple(range(1, value.ndim)))
            for name, value in distances.items()
        }

    return stateless(terms, names=("angle", "length"), init=adapter_only())
