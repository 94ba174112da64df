"""Losses of features and logits, and their weighted sum."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from loss_cases import compiled, normal

from fdcmkd_jax import losses


def labels(seed, *shape, classes):
    return jnp.asarray(np.random.default_rng(seed).integers(0, classes, shape), jnp.int32)


@pytest.mark.parametrize(("shape", "axes"), [((8,), (-1,)), ((3, 8), (1,)), ((2, 4, 5, 3), (1, 2))])
def test_standardize_equals_its_numpy_version(shape, axes):
    x = normal(0, *shape, scale=5.0)
    expected = oracles.standardize(x, axes=axes)
    np.testing.assert_allclose(losses.standardize(x, axes=axes), expected, rtol=0, atol=1e-6)


def test_standardize_gives_the_numbers_worked_by_hand():
    # Mean 2; differences -2, 0, 0, 2; norm sqrt(8).
    actual = losses.standardize(jnp.array([[0.0, 2.0, 2.0, 4.0]]))
    np.testing.assert_allclose(actual, [[-(0.5**0.5), 0.0, 0.0, 0.5**0.5]], rtol=1e-6)


def test_a_standardized_signal_has_mean_zero_and_norm_one():
    x = losses.standardize(normal(0, 5, 12, scale=100.0))
    np.testing.assert_allclose(np.mean(x, -1), np.zeros(5), atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), np.ones(5), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 0.5, 1e4])
def test_standardize_ignores_scale_and_offset(scale):
    x = normal(0, 5, 12)
    actual = losses.standardize(scale * x + scale)
    np.testing.assert_allclose(actual, losses.standardize(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_signal_standardizes_to_zeros_with_finite_gradients(value):
    x = jnp.full((2, 8), value)
    np.testing.assert_array_equal(losses.standardize(x), np.zeros((2, 8)))
    weights = normal(0, 2, 8)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(weights * losses.standardize(x))))(x)
    assert np.isfinite(gradient).all()


def test_epsilon_is_the_least_norm_a_signal_is_divided_by():
    x = jnp.array([[-0.3, 0.4, -0.3, 0.2]])  # mean 0, norm sqrt(0.38) = 0.62
    np.testing.assert_allclose(losses.standardize(x, epsilon=2.0), x / 2, rtol=1e-6)
    np.testing.assert_allclose(losses.standardize(x, epsilon=0.5), x / 0.38**0.5, rtol=1e-6)


def test_standardize_widens_bfloat16():
    x = normal(0, 3, 16, dtype=jnp.bfloat16)
    actual = losses.standardize(x)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, oracles.standardize(np.asarray(x, np.float64)), atol=1e-6)


@pytest.mark.parametrize("axes", [(1, 1), (2,), ()])
def test_standardize_refuses_bad_axes(axes):
    with pytest.raises(ValueError, match="axes must"):
        losses.standardize(jnp.ones((2, 4)), axes=axes)


def test_signed_log_equals_its_numpy_version():
    x = jnp.linspace(-50.0, 50.0, 101)
    np.testing.assert_allclose(losses.signed_log(x), oracles.signed_log(x), rtol=1e-6)


def test_signed_log_is_odd():
    x = jnp.concatenate([jnp.logspace(-30, 30, 61), jnp.array([0.0])])
    np.testing.assert_array_equal(losses.signed_log(-x), -losses.signed_log(x))


def test_signed_log_increases():
    assert np.all(np.diff(losses.signed_log(jnp.linspace(-5.0, 5.0, 201))) > 0)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_signed_log_has_slope_one_at_zero(zero):
    assert jax.grad(losses.signed_log)(jnp.float32(zero)) == 1.0


@pytest.mark.parametrize("value", [-3.0, -0.5, 0.5, 3.0])
def test_signed_log_has_slope_one_over_one_plus_size(value):
    slope = jax.grad(losses.signed_log)(jnp.float32(value))
    np.testing.assert_allclose(slope, 1 / (1 + abs(value)), rtol=1e-6)


def test_signed_log_widens_bfloat16():
    x = normal(0, 16, dtype=jnp.bfloat16)
    actual = losses.signed_log(x)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, oracles.signed_log(np.asarray(x, np.float64)), rtol=1e-6)


def test_the_weak_alignment_never_exceeds_the_strong_one():
    student, teacher = normal(0, 32, 6, scale=3.0), normal(1, 32, 6, scale=3.0)
    strong = losses.mean_squared_error(student, teacher)
    assert np.all(losses.log_mean_squared_error(student, teacher) < strong)


def test_mean_squared_error_gives_the_numbers_worked_by_hand():
    student = jnp.array([[1.0, 3.0], [2.0, 2.0]])
    teacher = jnp.array([[0.0, 1.0], [2.0, 2.0]])
    np.testing.assert_allclose(losses.mean_squared_error(student, teacher), [2.5, 0.0])


@pytest.mark.parametrize("positions", [(), (3,), (2, 3)])
def test_cross_entropy_equals_its_numpy_version(positions):
    logits, classes = normal(0, 4, *positions, 5), labels(1, 4, *positions, classes=5)
    actual = compiled(losses.cross_entropy)(logits, classes)
    assert actual.shape == (4,)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, oracles.cross_entropy(logits, classes), rtol=1e-5)


def test_cross_entropy_of_two_classes_is_the_softplus_of_their_gap():
    logits = jnp.array([[0.0, 2.0], [0.0, 2.0]])
    expected = [np.log1p(np.exp(2.0)), np.log1p(np.exp(-2.0))]
    actual = compiled(losses.cross_entropy)(logits, jnp.array([0, 1]))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_cross_entropy_is_finite_where_a_softmax_would_overflow():
    logits = jnp.array([[1e4, -1e4], [-1e4, 1e4]])
    classes = jnp.array([0, 0])
    np.testing.assert_allclose(
        compiled(losses.cross_entropy)(logits, classes), [0.0, 2e4], rtol=1e-6
    )
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(losses.cross_entropy(x, classes))))(logits)
    np.testing.assert_allclose(gradient, [[0.0, 0.0], [-1.0, 1.0]], atol=1e-6)


@pytest.mark.parametrize("positions", [(), (3, 2)], ids=["vector", "map"])
def test_smoothed_cross_entropy_is_that_of_the_mixed_target(positions, rng):
    logits = rng.normal(size=(4, *positions, 5)).astype(np.float32)
    classes = rng.integers(0, 5, (4, *positions))
    target = 0.8 * np.eye(5)[classes] + 0.2 / 5
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(target * log_probabilities).sum(-1).reshape(4, -1).mean(-1)
    actual = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(classes), label_smoothing=0.2)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_smoothing_by_all_of_the_target_is_refused():
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\), got 1.0"):
        losses.cross_entropy(jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32), label_smoothing=1.0)


def test_cross_entropy_widens_bfloat16():
    logits, classes = normal(0, 4, 5, dtype=jnp.bfloat16), labels(1, 4, classes=5)
    actual = compiled(losses.cross_entropy)(logits, classes)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, oracles.cross_entropy(logits, classes), rtol=1e-5)


def test_cross_entropy_is_the_same_under_jit_vmap_and_pmap(transform):
    logits, classes = normal(0, 4, 2, 5), labels(1, 4, 2, classes=5)
    expected = losses.cross_entropy(logits, classes)
    actual = transform(losses.cross_entropy)(logits, classes)
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


def test_permuting_the_batch_permutes_cross_entropy():
    logits, classes = normal(0, 4, 5), labels(1, 4, classes=5)
    order = np.array([2, 0, 3, 1])
    expected = losses.cross_entropy(logits, classes)[order]
    actual = losses.cross_entropy(logits[order], classes[order])
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


@pytest.mark.usefixtures("without_type_checks")
def test_cross_entropy_refuses_labels_of_another_shape():
    message = r"labels must have the logits' shape without classes, \(2,\), got \(2, 1\)\."
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(jnp.ones((2, 5)), jnp.zeros((2, 1), jnp.int32))


def test_soft_divergence_gives_the_number_worked_by_hand():
    # Teacher (1/2, 1/2), student (3/4, 1/4): KL = (log(2/3) + log 2) / 2 = log(4/3) / 2.
    student, teacher = jnp.log(jnp.array([[3.0, 1.0]])), jnp.zeros((1, 2))
    actual = losses.soft_divergence(student, teacher, temperature=1.0)
    np.testing.assert_allclose(actual, [np.log(4 / 3) / 2], rtol=1e-6)


def test_softening_divides_logits_and_multiplies_by_the_square():
    student, teacher = normal(0, 3, 5), normal(1, 3, 5)
    at_three = losses.soft_divergence(3 * student, 3 * teacher, temperature=3.0)
    at_one = losses.soft_divergence(student, teacher, temperature=1.0)
    np.testing.assert_allclose(at_three, 9 * at_one, rtol=1e-5)


def test_soft_divergence_is_not_negative_and_ignores_an_offset_of_logits():
    student, teacher = normal(0, 32, 5), normal(1, 32, 5)
    value = losses.soft_divergence(student, teacher, temperature=2.0)
    assert np.all(value > 0)
    shifted = losses.soft_divergence(student + 5.0, teacher - 3.0, temperature=2.0)
    np.testing.assert_allclose(shifted, value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_soft_divergence_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive, got {temperature}"):
        losses.soft_divergence(jnp.ones((2, 3)), jnp.ones((2, 3)), temperature=temperature)


def test_combine_is_the_weighted_sum_of_each_example():
    terms = {"low": jnp.array([1.0, 2.0]), "high": jnp.array([3.0, -4.0])}
    actual = losses.combine(terms, {"high": 0.5, "low": 10.0})
    np.testing.assert_allclose(actual, [11.5, 18.0])
    assert actual.dtype == jnp.float32


def test_a_weight_of_zero_switches_a_term_off():
    terms = {"low": jnp.array([1.0, 2.0]), "high": jnp.array([3.0, 4.0])}
    np.testing.assert_array_equal(losses.combine(terms, {"low": 1.0, "high": 0.0}), [1.0, 2.0])


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ({"low": 1.0}, r"missing \['high'\], not a term \[\]"),
        ({"low": 1.0, "high": 1.0, "hihg": 1.0}, r"missing \[\], not a term \['hihg'\]"),
        ({"low": 1.0, "hihg": 1.0}, r"missing \['high'\], not a term \['hihg'\]"),
    ],
)
def test_combine_names_weights_that_are_missing_or_too_many(weights, complaint):
    terms = {"low": jnp.ones(2), "high": jnp.ones(2)}
    message = rf"weights must name exactly the loss terms \['high', 'low'\]; {complaint}\."
    with pytest.raises(ValueError, match=message):
        losses.combine(terms, weights)


def test_combine_refuses_to_sum_nothing():
    with pytest.raises(ValueError, match="there is no loss term"):
        losses.combine({}, {})


def test_combine_is_the_same_under_jit_vmap_and_pmap(transform):
    terms = {"low": normal(0, 4), "high": normal(1, 4)}
    weights = {"low": 10.0, "high": 3.0}
    actual = transform(lambda terms: losses.combine(terms, weights))(terms)
    np.testing.assert_allclose(actual, losses.combine(terms, weights), rtol=1e-6)
