"""Properties of every loss of a student and a teacher."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from loss_cases import compiled, high, low, normal
from oracles import HALF

from fdcmkd_jax import losses


@functools.cache
def gradients(loss):
    """A paired loss's gradients in student and teacher."""
    return jax.jit(jax.grad(lambda student, teacher: jnp.sum(loss(student, teacher)), (0, 1)))


def divergence(student, teacher):
    return losses.soft_divergence(student, teacher, temperature=4.0)


def high_before(student, teacher):
    return losses.frequency_distances(student, teacher, normalize="before")["high"]


def high_rms(student, teacher):
    return losses.frequency_distances(student, teacher, basis="dct", normalize="rms")["high"]


def space_low(student, teacher):
    return losses.frequency_distances(student, teacher, axes=(1, 2))["low"]


# Each loss of a student and a teacher: (function, NumPy version, shape of both).
PAIRED = {
    "mean_squared_error": (losses.mean_squared_error, oracles.mean_squared_error, (4, 16)),
    "mean_squared_error of maps": (
        losses.mean_squared_error,
        oracles.mean_squared_error,
        (4, 5, 6, 2),
    ),
    "log_mean_squared_error": (
        losses.log_mean_squared_error,
        lambda s, t: oracles.mean_squared_error(oracles.signed_log(s), oracles.signed_log(t)),
        (4, 16),
    ),
    "soft_divergence": (divergence, lambda s, t: oracles.soft_divergence(s, t, 4.0), (4, 16)),
    "soft_divergence by position": (
        divergence,
        lambda s, t: oracles.soft_divergence(s, t, 4.0),
        (4, 5, 6, 2),
    ),
    "low": (low, lambda s, t: oracles.frequency_distances(s, t, HALF)["low"], (4, 16)),
    "high": (high, lambda s, t: oracles.frequency_distances(s, t, HALF)["high"], (4, 15)),
    "high by frame": (
        high,
        lambda s, t: oracles.frequency_distances(s, t, HALF)["high"],
        (4, 3, 16),
    ),
    "high standardized before": (
        high_before,
        lambda s, t: oracles.frequency_distances(s, t, HALF, normalize="before")["high"],
        (4, 16),
    ),
    "high of cosines over its root mean square": (
        high_rms,
        lambda s, t: oracles.frequency_distances(
            s, t, HALF, split=oracles.dct_bands, normalize="rms"
        )["high"],
        (4, 15),
    ),
    "low over space": (
        space_low,
        lambda s, t: oracles.frequency_distances(s, t, HALF, axes=(1, 2))["low"],
        (4, 5, 6, 2),
    ),
}


paired = pytest.mark.parametrize(
    ("loss", "oracle", "shape"), PAIRED.values(), ids=[name.replace(" ", "-") for name in PAIRED]
)


@paired
def test_a_paired_loss_equals_its_numpy_version(loss, oracle, shape):
    student, teacher = normal(0, *shape), normal(1, *shape)
    actual = compiled(loss)(student, teacher)
    assert actual.shape == shape[:1]
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, oracle(student, teacher), rtol=1e-5)


@paired
def test_a_paired_loss_of_bfloat16_is_the_float32_loss_of_the_rounded_numbers(loss, oracle, shape):
    student, teacher = (normal(seed, *shape, dtype=jnp.bfloat16) for seed in (0, 1))
    actual = compiled(loss)(student, teacher)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, oracle(student, teacher), rtol=1e-5)


@paired
def test_a_paired_loss_of_float64_is_float64(loss, oracle, shape):
    with jax.enable_x64(True):
        student, teacher = (normal(seed, *shape, dtype=jnp.float64) for seed in (0, 1))
        actual = compiled(loss)(student, teacher)
        assert actual.dtype == jnp.float64
        np.testing.assert_allclose(actual, oracle(student, teacher), rtol=1e-12)


@paired
def test_a_paired_loss_is_zero_and_flat_where_student_and_teacher_are_equal(loss, oracle, shape):
    del oracle
    x = normal(0, *shape)
    np.testing.assert_allclose(compiled(loss)(x, x), np.zeros(shape[0]), atol=1e-15)
    for gradient in gradients(loss)(x, x):
        np.testing.assert_allclose(gradient, np.zeros(shape), atol=1e-6)


@paired
@pytest.mark.parametrize("zeros", ["student", "teacher", "both"])
def test_a_paired_loss_has_finite_gradients_at_zero(zeros, loss, oracle, shape):
    del oracle
    student = jnp.zeros(shape) if zeros in ("student", "both") else normal(0, *shape)
    teacher = jnp.zeros(shape) if zeros in ("teacher", "both") else normal(1, *shape)
    for gradient in gradients(loss)(student, teacher):
        assert np.isfinite(gradient).all()


@paired
def test_a_paired_loss_is_the_same_under_jit_vmap_and_pmap(loss, oracle, shape, transform):
    del oracle
    student, teacher = normal(0, *shape), normal(1, *shape)
    expected = loss(student, teacher)
    np.testing.assert_allclose(transform(loss)(student, teacher), expected, rtol=2e-6)


@paired
def test_permuting_the_batch_permutes_a_paired_loss(loss, oracle, shape):
    del oracle
    student, teacher = normal(0, *shape), normal(1, *shape)
    order = np.array([2, 0, 3, 1])
    expected = compiled(loss)(student, teacher)[order]
    actual = compiled(loss)(student[order], teacher[order])
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


@pytest.mark.usefixtures("without_type_checks")
@paired
def test_a_paired_loss_refuses_two_shapes(loss, oracle, shape):
    del oracle
    with pytest.raises(ValueError, match=r"must have one shape, got \(.*\) and \(.*\); "):
        loss(normal(0, *shape), normal(1, *shape[:-1], shape[-1] + 1))
