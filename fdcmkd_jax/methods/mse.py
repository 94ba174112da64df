"""Plain feature distillation."""

from jaxtyping import Array

from fdcmkd_jax import adapters, losses
from fdcmkd_jax.methods.base import Method, Terms, resize, stateless
from fdcmkd_jax.types import Outputs, Params, Targets


def mse(adapter: adapters.Kind = "auto") -> Method:
    """Matches the teacher's features by mean squared error, without any scaling.

    Where the features are maps of unlike sizes, the student's are resized to the teacher's.

    Args:
        adapter: Map of the student's features to the teacher's width: ``"auto"``, linear where the
            widths differ; ``"linear"`` or ``"mlp"`` in any case. See `adapters.choose`.

    Terms:
        feature: ``[N]``, mean over D (and positions) of the squared difference.

    Source: arXiv 1412.6550; the row with every component off in arXiv 2511.19887's ablation.
    """
    student_adapter = adapters.choose(adapter)

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        del num_classes
        if teacher is None:
            return {"adapter": {}}
        widths = student.features.shape[-1], teacher.features.shape[-1]
        return {"adapter": student_adapter.init(key, *widths)}

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del targets
        features = student_adapter.apply(params["adapter"], student.features)
        features = resize(features, teacher.features)
        return {"feature": losses.mean_squared_error(features, teacher.features)}

    return stateless(terms, names=("feature",), init=init, dense=True)
