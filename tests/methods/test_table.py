"""The table of methods, and its errors."""

import pytest

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError


def test_names_are_sorted():
    assert list(methods.names()) == sorted(methods.TABLE)
    assert {"fd_cmkd", "kd", "mse", "none"} <= set(methods.names())


def test_a_misspelt_method_is_refused_with_the_nearest_name():
    message = r"^unknown method 'fdcmkd'; known: .*kd.*\. Did you mean 'fd_cmkd'\?$"
    with pytest.raises(ConfigError, match=message):
        methods.make("fdcmkd")


def test_a_misspelt_option_is_refused_with_the_nearest_name():
    message = r"^unknown option of method 'fd_cmkd': 'cut_off'; known: .* mean 'cutoff'\?$"
    with pytest.raises(ConfigError, match=message):
        methods.make("fd_cmkd", cut_off=0.5)


def test_a_former_name_is_refused_with_the_present_one():
    for former, present in (("logit", "kd"), ("feat", "fitnet"), ("similarity", "sp")):
        with pytest.raises(ConfigError, match=f"method '{former}' was renamed: use '{present}'"):
            methods.make(former)
