"""FitNet."""

import golden_numbers as golden
import jax
import oracles
import pytest
from builders import init_fn
from toy_outputs import D, K, close, model, terms_of, wide

from fdcmkd_jax import methods


def test_the_regressor_maps_equal_widths_too():
    student, teacher = model(0), model(1)
    params = init_fn(methods.fitnet())(jax.random.key(0), student, teacher, K)
    assert params["adapter"]["kernel"].shape == (D, D)
    expected = oracles.mean_squared_error(
        wide(student.features) @ wide(params["adapter"]["kernel"]), teacher.features
    )
    close(terms_of("fitnet", student, teacher, params=params)["feature"], expected)
    plain = init_fn(methods.fitnet(regressor=False))(jax.random.key(0), student, teacher, K)
    assert plain["adapter"] == {}


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        ("feat_mse_map", "map", {"stage": "stage1"}, {"feature": 1.0}),
        ("feat_mse", "features", {}, {"feature": 1.0}),
    ],
)
def test_fitnet_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("fitnet", **options), weights)
