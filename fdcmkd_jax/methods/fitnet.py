"""FitNet's hints: the teacher's features or maps, predicted by a regressor."""

from fdcmkd_jax import losses
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
from fdcmkd_jax.types import Outputs, Params, Targets


def fitnet(stage: str = "", regressor: bool = True) -> Method:
    r"""Matches the teacher's features, or the map of one stage, by a linear map of the student's.

    .. math:: \ell_n = \frac{1}{D} \sum_d (r(s_n)_d - t_{nd})^2

    The regressor r is a dense layer, on maps a 1x1 convolution, trained with the student. The
    public codes' 3x3 convolution, BatchNorm and ReLU cannot reach negative features and are not
    used. Where maps differ in size, the student's is resized to the teacher's.

    Args:
        stage: Name of the map; empty for the pooled features.
        regressor: Also map equal widths. Unequal widths are mapped in any case.

    Terms:
        feature: ``[N]``, mean over D (and positions) of the squared difference. mdistiller weights
            a map by 100.

    Raises:
        ConfigError: From ``init``, if a model has no such stage.

    Source: arXiv 1412.6550; megvii-research/mdistiller, winycg/CIRKD (the 1x1 convolution).
    """

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del targets
        hint = read(teacher, stage)
        guided = resize(adapt(params["adapter"], read(student, stage)), hint)
        return {"feature": losses.mean_squared_error(guided, hint)}

    return stateless(
        terms,
        names=("feature",),
        init=adapter_only(stage, always=regressor),
        map_terms=frozenset({"feature"} if stage else ()),
        needs=Needs(teacher_maps=bool(stage)),
        dense=True,
    )
