"""PKD."""

import golden_numbers as golden
import pytest
from toy_outputs import KEPT, close, model, terms_of

from fdcmkd_jax import methods


def test_pkd_does_not_see_scale_and_mean_of_a_channel():
    student, teacher = model(0), model(1)
    scaled = student.replace(features=7 * student.features + 2)
    before, after = (terms_of("pkd", outputs, teacher) for outputs in (student, scaled))
    close(after["feature"][KEPT], before["feature"][KEPT], rtol=1e-4)


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        ("pkd_map", "map", {"stage": "stage1"}, {"feature": 1.0}),
        ("pkd_vector", "features", {}, {"feature": 1.0}),
    ],
)
def test_pkd_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("pkd", **options), weights)
