"""Plain feature distillation."""

from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, adapt, adapter_only
from fdcmkd_jax.types import Outputs, Params, Targets


def mse() -> Method:
    """Matches the teacher's pooled features as they are, by mean squared error.

    Where the widths differ the student's features pass a linear map to the teacher's width.

    Terms:
        feature: ``[N]``, mean over D of the squared difference.

    Source: arXiv 1412.6550; the row with every component off in arXiv 2511.19887's ablation.
    """

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        del targets
        features = adapt(params["adapter"], student.features)
        return {"feature": losses.mean_squared_error(features, teacher.features)}

    return Method(init=adapter_only(), terms=terms, names=("feature",))
