"""Several methods at once."""

import jax
import numpy as np
import pytest
from builders import init_fn, terms_fn
from toy_outputs import K, close, model, targets

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError


def test_join_gives_each_method_its_own_parameters_and_names():
    student, teacher = model(0), model(1, width=6)
    options = {"kd": {"temperature": 2.0}, "mse": {}, "fd_cmkd": {"shared_heads": False}}
    parts = {name: methods.make(name, **keywords) for name, keywords in options.items()}
    joined = methods.make("join", methods=parts)
    params = init_fn(joined)(jax.random.key(0), student, teacher, K)
    assert set(params) == set(options)
    terms = jax.jit(terms_fn(joined))(params, student, teacher, targets())
    heads = joined.heads(params, student)
    for name, method in parts.items():
        alone = jax.jit(terms_fn(method))(params[name], student, teacher, targets())
        for term, value in alone.items():
            close(terms.pop(f"{name}_{term}"), value)
        for head, value in method.heads(params[name], student).items():
            close(heads.pop(f"{name}_{head}"), value)
    assert terms == heads == {}
    assert joined.label_terms == {"fd_cmkd_auxiliary"}


def test_a_joined_method_starts_alike_whatever_it_is_joined_with():
    student, teacher = model(0), model(1, width=6)

    def start(*names):
        joined = methods.make("join", methods={name: methods.make(name) for name in names})
        return init_fn(joined)(jax.random.key(0), student, teacher, K)

    alone, beside = start("mse"), start("pkd", "mse")
    jax.tree.map(np.testing.assert_array_equal, alone["mse"], beside["mse"])
    assert np.any(beside["mse"]["adapter"]["kernel"] != beside["pkd"]["adapter"]["kernel"])


def test_a_join_needs_a_method():
    with pytest.raises(ConfigError, match="method 'join': methods must hold at least one method"):
        methods.make("join", methods={})


def test_methods_of_one_teacher_and_of_several_cannot_be_joined():
    parts = {"mse": methods.mse(), "several": methods.multi_teacher(methods.kd())}
    with pytest.raises(ConfigError, match="cannot mix methods of one teacher and of several"):
        methods.make("join", methods=parts)
