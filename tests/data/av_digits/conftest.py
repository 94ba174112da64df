"""AV-digits, prepared once for each file of tests."""

import pytest

from fdcmkd_jax.data.av_digits import av_digits


@pytest.fixture(scope="module")
def digits(digits_dir):
    return av_digits(data_dir=digits_dir, seed=0)
