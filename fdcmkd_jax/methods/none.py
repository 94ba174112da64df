"""The control every gain is measured against: the same budget without a teacher."""

from jaxtyping import Array

from fdcmkd_jax.methods.base import Method, no_params


def none() -> Method:
    """Trains the student on its labels alone; the task's own loss is the only term."""
    return Method(init=no_params, terms=_no_terms, names=())


def _no_terms(*arguments: object) -> dict[str, Array]:
    return {}
