"""FitNet's hints: the teacher's features or maps through a regressor."""

from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, adapt, adapter_only, read, resize
from fdcmkd_jax.types import Outputs, Params, Targets


def feat(stage: str = "", regressor: bool = True) -> Method:
    r"""Matches the teacher's features, or one stage's map, by what a linear map makes of one's own.

    .. math:: \ell_n = \frac{1}{D} \sum_d (r(s_n)_d - t_{nd})^2

    The regressor r is a dense layer, on maps a 1x1 convolution, trained with the student. The
    public codes' 3x3 convolution, BatchNorm and ReLU cannot reach negative features and are not
    used. Where maps differ in size the student's is resized to the teacher's.

    Args:
        stage: Which map; empty for the pooled features.
        regressor: Map equal widths too. Unequal ones are mapped in any case.

    Terms:
        feature: ``[N]``, mean over D (and positions) of the squared difference. mdistiller weights
            a map by 100.

    Raises:
        ConfigError: When started, if a model has no such stage.

    Source: arXiv 1412.6550; megvii-research/mdistiller, winycg/CIRKD (the 1x1 convolution).
    """

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        del targets
        hint = read(teacher, stage)
        guided = resize(adapt(params["adapter"], read(student, stage)), hint)
        return {"feature": losses.mean_squared_error(guided, hint)}

    return Method(
        init=adapter_only(stage, always=regressor),
        terms=terms,
        names=("feature",),
        reads_teacher_maps=bool(stage),
    )
