"""Mean squared error of features."""

import golden_numbers as golden
import pytest
from builders import terms_fn

from fdcmkd_jax import methods


@pytest.mark.parametrize("entry", ["feat_mse", "feat_mse_linear_projector"])
def test_the_mse_method_with_and_without_a_linear_map(entry):
    x = golden.inputs(entry)
    adapter = {"kernel": x["kernel_in_out"], "bias": x["bias"]} if "bias" in x else {}
    teacher = golden.outputs(features=x["teacher_feat"])

    def loss(student):
        params = {"adapter": adapter}
        terms = terms_fn(methods.make("mse"))(
            params, golden.outputs(features=student), teacher, golden.targets(2)
        )
        return terms["feature"]

    golden.check(entry, loss, x["student_feat"])
