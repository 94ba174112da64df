"""The preprocessing that is rebuilt from a model's metadata."""

import json

import numpy as np
import pytest

from fdcmkd_jax import data
from fdcmkd_jax.registry import ConfigError


@pytest.fixture(scope="module")
def digits(digits_dir):
    return data.make("av_digits", data_dir=digits_dir, seed=0)


@pytest.mark.parametrize("modality", ["audio", "image"])
def test_a_rebuilt_preprocessing_gives_the_same_bits(digits, modality):
    steps = digits.preprocessing[modality]
    record = {"data": "av_digits", "modality": modality, "constants": dict(steps.constants)}
    rebuilt = data.preprocessing(json.loads(json.dumps(record)))
    assert rebuilt.inputs == steps.inputs
    assert rebuilt.constants == steps.constants
    random = np.random.default_rng(0)
    raw = {
        name: random.integers(0, 30, size=(4, *shape)).astype(dtype)
        for name, (shape, dtype) in steps.inputs.items()
    }
    np.testing.assert_array_equal(rebuilt.function(raw), steps.function(raw))


@pytest.mark.parametrize(
    "change",
    [{"data": "no_data"}, {"data": "os:system"}, {"modality": "smell"}, {"constants": {}}],
    ids=str,
)
def test_a_record_that_does_not_fit_is_refused(digits, change):
    constants = dict(digits.preprocessing["image"].constants)
    record = {"data": "av_digits", "modality": "image", "constants": constants, **change}
    with pytest.raises(ConfigError, match="cannot rebuild the preprocessing of"):
        data.preprocessing(record)


@pytest.mark.parametrize("name", data.names())
def test_every_data_set_can_rebuild_its_preprocessing(name):
    assert callable(data.PREPROCESSING[name])
