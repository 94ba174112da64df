"""Training without distillation: the control for every gain, at the same budget."""

from jaxtyping import Array

from fdcmkd_jax.methods.base import Method, stateless


def none() -> Method:
    """Trains the student on its labels alone; the task's own loss is the only term."""
    return stateless(_no_terms, names=(), dense=True)


def _no_terms(*arguments: object) -> dict[str, Array]:
    del arguments
    return {}
