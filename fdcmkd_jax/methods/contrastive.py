"""Contrastive distillation: an example's features identify its partner's in the batch."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.frequency import split_bands
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Terms, adapt, adapter_only, pool, stateless
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

Kind = Literal["hard", "smoothed", "low_band"]
KINDS = ("hard", "smoothed", "low_band")
EXCLUDED = -1e9
"""A logit whose probability is exactly 0, yet finite: 0 times infinity is NaN."""


def contrastive(
    targets: Kind = "hard",
    temperature: float = 0.07,
    smoothing: float = 0.1,
    cutoff: float = 0.5,
    axis_name: str | None = None,
) -> Method:
    r"""Identifies each example's partner in the batch, from student to teacher and back.

    .. math:: \ell_n = -\tfrac12 \sum_m y_{nm} \left( \log \sigma_m(\langle s_n, t_m \rangle / \tau)
        + \log \sigma_m(\langle t_n, s_m \rangle / \tau) \right)

    of unit features, pooled over frames or positions. If the widths differ, a linear map brings the
    student's features to the teacher's width.

    Args:
        targets: The choice of y. ``"hard"``: the partner alone (InfoNCE). ``"smoothed"``: a share
            spread evenly over the batch. ``"low_band"``: that share spread by the similarity of the
            teacher's low bands, at the same temperature, since modalities share the low band.
        temperature: tau, positive.
        smoothing: The share, in [0, 1), unless the targets are hard.
        cutoff: Upper end of the low band, in (0, 1).
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        contrast: ``[N]``, in nats.

    Raises:
        ValueError: On other targets, a temperature that is not positive, a smoothing outside [0, 1)
            or a cutoff outside (0, 1).

    Source: arXiv 1807.03748 (InfoNCE); arXiv 2510.21606 (softer targets against overconfidence) and
    arXiv 2408.05503 (soft targets from the part that modalities share). That the softening is label
    smoothing, and that the shared part is the teacher's low band, are our readings.
    """
    if targets not in KINDS:
        raise ValueError(f"targets must be one of {', '.join(KINDS)}, got {targets!r}.")
    losses.check_temperature(temperature)
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}.")
    if not 0.0 < cutoff < 1.0:
        raise ValueError(f"cutoff must lie inside (0, 1), got {cutoff}.")

    def log_match(rows: Array, columns: Array, mask: Array) -> Array:
        """Log-probabilities ``[N, G]`` of the gathered columns, without those of padding."""
        rows, columns = (x / losses.norm(x) for x in (rows, columns))
        logits = rows @ batch.gather(columns, axis_name).T / temperature
        valid = batch.gather(mask, axis_name)[None]
        return jax.nn.log_softmax(jnp.where(valid, logits, EXCLUDED))

    def partner_probabilities(teacher: Array, mask: Array) -> Array:
        """The targets y, ``[N, G]``."""
        partner = batch.is_same_row(mask, axis_name).astype(jnp.float32)
        if targets == "hard":
            return partner
        if targets == "smoothed":
            valid = batch.gather(mask, axis_name).astype(jnp.float32)
            spread = valid[None] / batch.count(mask, axis_name)
        else:
            low = split_bands(teacher, cutoff=cutoff).low
            spread = jnp.exp(log_match(low, low, mask))
        return (1 - smoothing) * partner + smoothing * spread

    def terms(params: Params, student: Outputs, teacher: Outputs, known: Targets) -> Terms:
        s = pool(at_least_float32(adapt(params["adapter"], student.features)))
        t = pool(at_least_float32(teacher.features))
        log_matches = log_match(s, t, known.mask) + log_match(t, s, known.mask)
        # A padded column's log-probability is huge, its target probability 0.
        y = partner_probabilities(t, known.mask)
        return {"contrast": -jnp.sum(y * log_matches, axis=1) / 2}

    return stateless(terms, names=("contrast",), init=adapter_only())
