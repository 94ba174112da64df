"""MGDFR."""

import itertools

import golden_numbers as golden
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from toy_outputs import KEPT, MASK, D, K, N, close, model, random, targets, wide

from fdcmkd_jax import methods
from fdcmkd_jax.methods.mgdfr import freeze, least, salience
from fdcmkd_jax.registry import ConfigError


def test_salience_is_the_mean_over_all_permutations_of_a_channel():
    x, kernel, logits = random(0, N, D), random(1, D, K), random(2, N, K)
    real = x[KEPT]

    def error(features):
        return np.mean((features @ kernel - logits[KEPT]) ** 2)

    expected = []
    for channel in range(D):
        permuted = np.repeat(real[None], 6, axis=0)
        orders = list(itertools.permutations(range(3)))
        permuted[:, :, channel] = [real[list(order), channel] for order in orders]
        expected.append(np.mean([error(features) for features in permuted]) - error(real))
    actual = salience(
        *(jnp.asarray(z, jnp.float32) for z in (x, kernel, x @ kernel - logits)),
        jnp.asarray(MASK),
        None,
    )
    close(actual, expected, rtol=1e-4)


def test_the_least_salient_channels_are_those_of_the_lowest_share():
    values = jnp.array([3.0, 1.0, 2.0, 0.0, 5.0])
    np.testing.assert_array_equal(least(values, 0.75), [False, True, True, True, False])


def test_mgdfr_aligns_and_ranks_then_distills_from_the_edited_teacher():
    student, teacher = model(0), model(1)
    method = methods.make("mgdfr", align_steps=2, frozen=0.5, temperature=2.0)
    params, memory = method.init(jax.random.key(0), student, teacher, K)
    kernel = wide(params["classifier"]["kernel"])
    for step in range(3):
        terms, after = method.terms(params, memory, student, teacher, targets())
        aligning = step < 2
        for name in ("teacher", "agreement"):
            assert np.all((terms[name] > 0) == aligning)
        assert np.all((terms["divergence"] > 0) != aligning)
        assert np.any(after["salience"] != memory["salience"]) == aligning
        memory = after
    edited = wide(teacher.features)
    lowest = np.argsort(memory["salience"])[:4]
    edited[:, lowest] = np.mean(edited[KEPT][:, lowest], axis=0)
    expected = oracles.soft_divergence(student.logits, edited @ kernel, 2.0)
    close(terms["divergence"][KEPT], expected[KEPT], rtol=1e-4)


def test_mgdfr_trains_the_teacher_only_while_aligning():
    student, teacher = model(0), model(1)
    method = methods.make("mgdfr", align_steps=2)
    params, memory = method.init(jax.random.key(0), student, teacher, K)

    def total(teacher, params, step):
        terms, _ = method.terms(params, {**memory, "step": step}, student, teacher, targets())
        return sum(jnp.sum(term) for term in terms.values())

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))
    for step, trained in ((1, True), (2, False)):
        by_teacher, by_params = gradients(teacher, params, step)
        for gradient in (by_teacher.features, *jax.tree.leaves(by_params)):
            assert np.any(gradient != 0) == trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"align_steps": 0}, "align_steps must be positive, got 0"),
        ({"frozen": 1.0}, r"frozen must lie in \[0, 1\), got 1.0"),
    ],
)
def test_mgdfr_refuses_a_value_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("mgdfr", **options)


def test_the_edit_of_mgdfr():
    x = golden.inputs("mgdfr_freeze_op")
    chosen = jnp.zeros(8, bool).at[x["channels"]].set(True)
    edited = freeze(x["teacher_feat"], chosen, jnp.ones(2, bool), None)
    np.testing.assert_allclose(
        edited, golden.GOLDEN["mgdfr_freeze_op"]["outputs"]["frozen"], rtol=1e-6
    )
