"""MLLD."""

import functools

import golden_numbers as golden
import pytest
from toy_outputs import close, model, terms_of

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError


def test_mlld_averages_over_temperatures():
    student, teacher = model(0), model(1)
    make = functools.partial(terms_of, "mlld", student, teacher)
    both, first, second = (make(temperatures=t) for t in ([2.0, 5.0], [2.0], [5.0]))
    for term in ("instance", "class", "batch"):
        close(both[term], (first[term] + second[term]) / 2)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperatures": []}, r"temperatures must be a list of numbers, got \[\]"),
        ({"temperatures": ["4"]}, r"temperatures must be a list of numbers, got \['4'\]"),
        ({"temperatures": [4.0, 0.0]}, "temperature must be positive, got 0.0"),
    ],
)
def test_mlld_refuses_a_bad_value(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("mlld", **options)


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        (
            "mlld_single_T",
            "logits",
            {"temperatures": [4.0]},
            {"instance": 1.0, "class": 1.0, "batch": 1.0},
        ),
        (
            "mlld_mst_variant",
            "logits",
            {},
            {"instance": 1 / 3, "class": 1 / (3 * 4), "batch": 1 / (3 * 2)},
        ),
    ],
)
def test_mlld_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("mlld", **options), weights)


def test_the_parts_of_mlld_at_one_temperature_are_the_golden_ones():
    method = methods.make("mlld", temperatures=[4.0])
    part_of = {"instance": "kd", "class": "cc", "batch": "bc"}
    # Printed to 8 decimals, of which the smallest part has 5 significant ones.
    golden.check_parts("mlld_single_T", "logits", method, part_of, atol=1e-8)
