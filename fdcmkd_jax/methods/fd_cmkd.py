"""FD-CMKD: frequency-decoupled cross-modal knowledge distillation."""

import jax
from jaxtyping import Array, Float

from fdcmkd_jax import losses
from fdcmkd_jax.frequency import Bands, split_bands
from fdcmkd_jax.methods.base import Method, adapt, dense, init_adapter, init_dense, pool
from fdcmkd_jax.types import Outputs, Params, Targets

BANDS = Bands._fields


def fd_cmkd(
    cutoff: float = 0.5,
    reduction: losses.Reduction = "mean",
    shared_heads: bool = True,
    auxiliary_heads: bool = True,
    pseudo_labels: bool = True,
    epsilon: float = 1e-8,
) -> Method:
    r"""Aligns the low band strongly and the high band weakly, on one scale, under shared heads.

    .. math:: L = L_{task} + L_{align} + \lambda_1 L_{low} + \lambda_2 L_{high}

    A head is ReLU, then a dense layer to K classes, on a band that is not standardised. Where the
    widths differ the student's features pass a linear map to the teacher's width first.

    Args:
        cutoff: Share of the DFT bins that is low, in (0, 1).
        reduction: ``"mean"`` or ``"sum"`` over D; see `frequency_distances`.
        shared_heads: Classify both models' bands by one low and one high head (the term ``align``).
        auxiliary_heads: Classify the student's bands by two heads of its own (``auxiliary``). In
            the public code, not in the paper's total.
        pseudo_labels: Where a label is hidden, ``align`` takes the teacher's prediction; otherwise
            it counts labelled examples only.
        epsilon: Lower clamp of a band's norm.

    Terms:
        low: ``[N]``, MSE of the standardised low bands.
        high: ``[N]``, log-MSE of the standardised high bands.
        align: ``[N]``, the sum of four cross-entropies: both heads on both models' bands.
        auxiliary: ``[N]``, the sum of two cross-entropies: the student's own heads.

    Raises:
        ValueError: If the cutoff is not inside (0, 1) or the reduction is unknown.

    Source: arXiv 2511.19887; features, bins, clamp and auxiliary heads as in its public code.
    """
    if not 0.0 < cutoff < 1.0:
        raise ValueError(f"cutoff must lie inside (0, 1), got {cutoff}.")
    losses.check_reduction(reduction)
    groups = [
        name for name, wanted in (("align", shared_heads), ("auxiliary", auxiliary_heads)) if wanted
    ]

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        if teacher is None:
            raise ValueError("fd_cmkd needs a teacher's features.")
        size = teacher.features.shape[-1]
        params = {"adapter": init_adapter(jax.random.fold_in(key, 0), student, teacher)}
        for group in groups:
            # Keyed by name, so that switching one group off leaves the other's start unchanged.
            keys = jax.random.split(jax.random.fold_in(key, 1 + (group == "auxiliary")), len(BANDS))
            params[group] = {
                band: init_dense(band_key, size, num_classes)
                for band, band_key in zip(BANDS, keys, strict=True)
            }
        return params

    def bands_of(features: Array) -> Bands:
        return split_bands(features, cutoff=cutoff)

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        student_bands = bands_of(adapt(params["adapter"], student.features))
        teacher_bands = bands_of(teacher.features)
        result = losses.band_distances(
            student_bands, teacher_bands, reduction=reduction, epsilon=epsilon
        )
        if shared_heads:
            known = targets.with_pseudo_labels(teacher.logits) if pseudo_labels else targets
            by_student = _label_loss(params["align"], student_bands, known)
            result["align"] = by_student + _label_loss(params["align"], teacher_bands, known)
        if auxiliary_heads:
            result["auxiliary"] = _label_loss(params["auxiliary"], student_bands, targets)
        return result

    def heads(params: Params, student: Outputs) -> dict[str, Array]:
        bands = bands_of(adapt(params["adapter"], student.features))
        return {
            f"{group}_{band}": head_logits
            for group in groups
            for band, head_logits in _classify(params[group], bands).items()
        }

    return Method(
        init=init,
        terms=terms,
        names=("low", "high", *groups),
        label_terms=frozenset(groups) - ({"align"} if pseudo_labels else set()),
        heads=heads,
    )


def _label_loss(params: Params, bands: Bands, targets: Targets) -> Float[Array, " N"]:
    """The sum of both heads' losses."""
    logits = _classify(params, bands)
    return targets.loss(logits["low"]) + targets.loss(logits["high"])


def _classify(params: Params, bands: Bands) -> dict[str, Float[Array, "N K"]]:
    """Each band's logits by its own head, averaged over frames or positions if there are any."""
    logits = {}
    for band, features in bands._asdict().items():
        logits[band] = dense(params[band], pool(jax.nn.relu(features)))
    return logits
