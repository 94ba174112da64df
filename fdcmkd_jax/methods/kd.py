"""Knowledge distillation by softened logits (Hinton)."""

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, Terms, stateless
from fdcmkd_jax.types import Outputs, Params, Targets


def kd(temperature: float = 4.0) -> Method:
    """Matches the teacher's softened class probabilities.

    Args:
        temperature: T, positive.

    Terms:
        divergence: ``[N]``, ``T^2 KL(teacher || student)`` at temperature T.

    Raises:
        ValueError: If the temperature is not positive.

    Source: arXiv 1503.02531.
    """
    losses.check_temperature(temperature)

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        del params, targets
        divergence = losses.soft_divergence(student.logits, teacher.logits, temperature=temperature)
        return {"divergence": divergence}

    return stateless(terms, names=("divergence",))
