"""Plain feature distillation."""

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, Terms, adapt, adapter_only, stateless
from fdcmkd_jax.types import Outputs, Params, Targets


def mse() -> Method:
    """Matches the teacher's pooled features by mean squared error, without any scaling.

    If the widths differ, a linear map brings the student's features to the teacher's width.

    Terms:
        feature: ``[N]``, mean over D of the squared difference.

    Source: arXiv 1412.6550; the row with every component off in arXiv 2511.19887's ablation.
    """

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del targets
        features = adapt(params["adapter"], student.features)
        return {"feature": losses.mean_squared_error(features, teacher.features)}

    return stateless(terms, names=("feature",), init=adapter_only())
