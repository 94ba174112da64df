"""Several teachers for one student."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from builders import init_fn, terms_fn
from toy_outputs import D, K, N, close, model, random, targets, terms_of, wide

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError


def several(**options):
    return methods.make("multi_teacher", method=methods.mse(), **options)


def test_fixed_gates_weigh_the_terms_towards_each_teacher():
    student, teacher = model(0), {"b": model(1, width=6), "a": model(2)}
    alone = {}
    method = several(shares={"a": 3.0, "b": 1.0})
    params = init_fn(method)(jax.random.key(0), student, teacher, K)
    for modality, outputs in teacher.items():
        part = params["methods"][modality]
        alone[modality] = terms_of("mse", student, outputs, params=part)["feature"]
    actual = jax.jit(terms_fn(method))(params, student, teacher, targets())["feature"]
    close(actual, 0.75 * alone["a"] + 0.25 * alone["b"])
    equal = jax.jit(terms_fn(several()))(params, student, teacher, targets())["feature"]
    close(equal, 0.5 * alone["a"] + 0.5 * alone["b"])


def test_one_of_several_teachers_is_the_method_itself():
    student, teacher = model(0), model(1)
    method = several()
    params = init_fn(method)(jax.random.key(0), student, {"a": teacher}, K)
    actual = terms_fn(method)(params, student, {"a": teacher}, targets())
    close(actual["feature"], terms_of("mse", student, teacher)["feature"])


def test_learned_gates_start_equal_and_learn_from_the_label_alone():
    student, teacher = model(0), {"b": model(1, width=6), "a": model(2)}
    method = several(gates="learned")
    params = init_fn(method)(jax.random.key(0), student, teacher, K)
    fixed = jax.jit(terms_fn(several()))(params, student, teacher, targets())
    actual = jax.jit(terms_fn(method))(params, student, teacher, targets())
    close(actual["feature"], fixed["feature"])
    chances = (
        sum(np.exp(oracles.log_softmax(wide(outputs.logits))) for outputs in teacher.values()) / 2
    )
    close(actual["gate"], -np.log(chances[np.arange(N), targets().labels]))

    def total(gate, term):
        return jnp.sum(
            terms_fn(method)({**params, "gate": gate}, student, teacher, targets())[term]
        )

    by_term = {term: jax.grad(total)(params["gate"], term) for term in method.names}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(by_term["feature"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(by_term["gate"]))


def test_a_gate_follows_its_teacher_through_jit_and_any_order():
    student, teacher = model(0), {"b": model(1, width=6), "a": model(2)}
    method = several(gates="learned")
    params = init_fn(method)(jax.random.key(0), student, teacher, K)
    params["gate"]["kernel"] = jnp.asarray(random(5, 6 + D, 2), jnp.float32)
    expected = terms_fn(method)(params, student, teacher, targets())
    backwards = dict(reversed(teacher.items()))
    for actual in (
        jax.jit(terms_fn(method))(params, student, teacher, targets()),
        terms_fn(method)(params, student, backwards, targets()),
    ):
        jax.tree.map(close, actual, expected)


def test_shares_name_every_teacher():
    start = jax.random.key(0), model(0), {"a": model(1), "b": model(2)}, K
    with pytest.raises(ConfigError, match=r"unknown teacher in shares: 'depth'; known: a, b"):
        init_fn(several(shares={"a": 1.0, "b": 1.0, "depth": 1.0}))(*start)
    with pytest.raises(ValueError, match="shares name each teacher or none; 'b' is missing"):
        init_fn(several(shares={"a": 1.0}))(*start)


@pytest.mark.parametrize(
    ("inner", "options", "message"),
    [
        (methods.c2kd, {}, "needs a method that keeps one teacher frozen"),
        (methods.mse, {"shares": {"a": 0}}, "shares.a must be a positive number, got 0"),
        (methods.mse, {"shares": {"a": 1.0}, "gates": "learned"}, "shares are for fixed gates"),
        (methods.mse, {"gates": "soft"}, "gates must be 'fixed' or 'learned', got 'soft'"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_a_bad_value_is_refused_before_training(inner, options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("multi_teacher", method=inner(), **options)
