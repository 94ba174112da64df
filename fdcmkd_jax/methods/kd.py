"""Knowledge distillation by softened logits (Hinton)."""

from fdcmkd_jax import losses
from fdcmkd_jax.methods.base import Method, Terms, known_positions, stateless
from fdcmkd_jax.types import Outputs, Params, Targets


def kd(temperature: float = 4.0) -> Method:
    """Matches the teacher's softened class probabilities.

    Where every pixel has a prediction, the term is the mean over the pixels whose label is a class;
    winycg/CIRKD averages over all pixels.

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
        del params
        divergence = losses.soft_divergence(
            student.logits,
            teacher.logits,
            temperature=temperature,
            where=known_positions(targets) if student.logits.ndim > 2 else None,
        )
        return {"divergence": divergence}

    return stateless(terms, names=("divergence",), dense=True)
