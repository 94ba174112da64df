"""No distillation."""

import jax
from builders import init_fn, terms_fn
from method_cases import STUDENT_WIDTH, K, outputs, targets

from fdcmkd_jax import methods


def test_none_has_no_terms_and_needs_no_teacher():
    method = methods.make("none")
    student = outputs(0, STUDENT_WIDTH)
    assert init_fn(method)(jax.random.key(0), student, None, K) == {}
    assert method.names == ()
    assert terms_fn(method)({}, student, None, targets()) == {}
