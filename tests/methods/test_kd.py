"""Hinton's distillation."""

import golden_numbers as golden
import numpy as np
import oracles
import pytest
from builders import terms_fn
from method_cases import compiled, set_up

from fdcmkd_jax import losses, methods


def test_kd_is_the_softened_divergence():
    method, params, student, teacher, shown = set_up("kd", {"temperature": 2.0})
    expected = oracles.soft_divergence(student.logits, teacher.logits, 2.0)
    actual = compiled(terms_fn(method))(params, student, teacher, shown)["divergence"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("entry", ["kd_T1", "kd_T4"])
def test_soft_divergence_and_the_kd_method(entry):
    x = golden.inputs(entry)
    temperature = golden.GOLDEN[entry]["hyperparameters"]["temperature"]
    method = methods.make("kd", temperature=temperature)

    def by_function(student):
        return losses.soft_divergence(student, x["teacher_logits"], temperature=temperature)

    def by_method(student):
        teacher = golden.outputs(logits=x["teacher_logits"])
        return terms_fn(method)({}, golden.outputs(logits=student), teacher, golden.targets(2))[
            "divergence"
        ]

    golden.check(entry, by_function, x["student_logits"])
    golden.check(entry, by_method, x["student_logits"])
