import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from oracles import HALF

from fdcmkd_jax import losses
from fdcmkd_jax.frequency import split_bands


def normal(seed, *shape, dtype=jnp.float32, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).normal(0.3, 1.0, shape), dtype)


def labels(seed, *shape, classes):
    return jnp.asarray(np.random.default_rng(seed).integers(0, classes, shape), jnp.int32)


# Compiled once for all tests: one by one the operations take seconds.
compiled = functools.cache(jax.jit)
distances = jax.jit(
    losses.frequency_distances,
    static_argnames=(
        *("cutoff", "axes", "basis", "basis_seed", "normalize", "low_loss", "high_loss"),
        *("reduction", "epsilon"),
    ),
)


@functools.cache
def gradients(loss):
    """A paired loss's gradients in student and teacher."""
    return jax.jit(jax.grad(lambda student, teacher: jnp.sum(loss(student, teacher)), (0, 1)))


def divergence(student, teacher):
    return losses.soft_divergence(student, teacher, temperature=4.0)


def low(student, teacher):
    return losses.frequency_distances(student, teacher)["low"]


def high(student, teacher):
    return losses.frequency_distances(student, teacher)["high"]


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
    "high standardised before": (
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
    with pytest.raises(ValueError, match=r"must have one shape, got \(.*\) and \(.*\); project"):
        loss(normal(0, *shape), normal(1, *shape[:-1], shape[-1] + 1))


# standardize


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


# signed_log


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


# cross_entropy


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


# soft_divergence


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


# frequency_distances


@pytest.mark.parametrize("cutoff", [Fraction(1, 4), Fraction(1, 3), HALF], ids=str)
def test_frequency_distances_equal_their_numpy_version_at_any_cutoff(cutoff):
    student, teacher = normal(0, 4, 16), normal(1, 4, 16, scale=7.0)
    actual = distances(student, teacher, cutoff=float(cutoff))
    expected = oracles.frequency_distances(student, teacher, cutoff)
    assert sorted(actual) == ["high", "low"]
    for band, value in actual.items():
        np.testing.assert_allclose(value, expected[band], rtol=1e-5, err_msg=band)


@pytest.mark.parametrize("size", [4, 5])
def test_each_frequency_distance_is_at_most_four_over_the_size(size):
    student, teacher = normal(0, 99, size), normal(1, 99, size)
    for value in distances(student, teacher).values():
        assert np.all(value <= 4 / size * (1 + 1e-6))


def test_opposite_signals_are_four_over_the_size_apart_in_the_low_band():
    x = normal(0, 3, 16)
    distance = distances(x, -x)["low"]
    np.testing.assert_allclose(distance, np.full(3, 4 / 16), rtol=1e-5)


def test_two_waves_in_each_band_are_as_far_apart_as_worked_by_hand():
    # Eight entries: bin 1 is low and bin 4 is high. Cosine and sine of bin 1 are orthogonal, so
    # unit vectors of squared distance 2, mean 2/8. A wave of bin 4 is +-a, of norm 1 if a is
    # 1/sqrt(8); against its opposite each signed log differs by 2 log(1 + a).
    angle = 2 * np.pi * np.arange(8) / 8
    student = jnp.asarray(3 * np.cos(angle) + 5 * np.cos(4 * angle), jnp.float32)[None]
    teacher = jnp.asarray(7 * np.sin(angle) - 2 * np.cos(4 * angle), jnp.float32)[None]
    actual = distances(student, teacher)
    np.testing.assert_allclose(actual["low"], [2 / 8], rtol=1e-5)
    np.testing.assert_allclose(actual["high"], [(2 * np.log(1 + 8**-0.5)) ** 2], rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "axes", "size"),
    [((4, 16), (-1,), 16), ((4, 3, 16), (-1,), 16), ((4, 5, 6, 2), (1, 2), 30)],
)
def test_summing_is_the_size_of_the_transformed_axes_times_the_mean(shape, axes, size):
    student, teacher = normal(0, *shape), normal(1, *shape)
    mean = distances(student, teacher, axes=axes, reduction="mean")
    total = distances(student, teacher, axes=axes, reduction="sum")
    for band in ("low", "high"):
        np.testing.assert_allclose(total[band], size * mean[band], rtol=1e-6, err_msg=band)


def test_frequency_distances_ignore_the_scale_and_offset_of_each_model():
    student, teacher = normal(0, 4, 16), normal(1, 4, 16)
    expected = distances(student, teacher)
    actual = distances(0.1 * student + 1.0, 50.0 * teacher - 20.0)
    for band in ("low", "high"):
        # The offset of 20 costs float32 a digit of the bands.
        np.testing.assert_allclose(actual[band], expected[band], rtol=1e-4, err_msg=band)


def test_frequency_distances_ignore_a_circular_shift_of_both():
    student, teacher = normal(0, 4, 15), normal(1, 4, 15)
    expected = distances(student, teacher)
    actual = distances(jnp.roll(student, 4, -1), jnp.roll(teacher, 4, -1))
    for band in ("low", "high"):
        np.testing.assert_allclose(actual[band], expected[band], rtol=1e-5, err_msg=band)


def test_a_band_is_compared_after_the_split_and_not_before():
    # Changing the student's high band leaves the low distance alone: each band has its own norm.
    student, teacher = normal(0, 4, 16), normal(1, 4, 16)
    wave = 10 * jnp.cos(2 * jnp.pi * 7 * jnp.arange(16) / 16)[None]
    before = distances(student, teacher)
    after = distances(student + wave, teacher)
    np.testing.assert_allclose(after["low"], before["low"], rtol=1e-4)
    assert np.all(np.abs(after["high"] - before["high"]) > 1e-3)


def test_distances_of_bands_split_already_are_the_same():
    student, teacher = normal(0, 4, 16), normal(1, 4, 16)
    actual = losses.band_distances(
        split_bands(student, cutoff=0.25)._asdict(),
        split_bands(teacher, cutoff=0.25)._asdict(),
        {"low": "mse", "high": "log_mse"},
    )
    expected = distances(student, teacher, cutoff=0.25)
    for band in ("low", "high"):
        np.testing.assert_allclose(actual[band], expected[band], rtol=1e-6)


def test_epsilon_bounds_the_norm_of_every_band_from_below():
    # With each norm taken as 100 the low distance is that of the bands themselves, over 100^2.
    student, teacher = normal(0, 4, 16), normal(1, 4, 16)
    actual = distances(student, teacher, epsilon=100.0)
    low_s, high_s = oracles.bands(student, HALF)
    low_t, high_t = oracles.bands(teacher, HALF)
    expected = oracles.mean_squared_error(low_s / 100, low_t / 100)
    np.testing.assert_allclose(actual["low"], expected, rtol=1e-5)
    logs = oracles.signed_log(high_s / 100), oracles.signed_log(high_t / 100)
    np.testing.assert_allclose(actual["high"], oracles.mean_squared_error(*logs), rtol=1e-4)


@pytest.mark.parametrize("normalize", ["band", "before", "rms", "none"])
@pytest.mark.parametrize(("shape", "axes"), [((4, 16), (-1,)), ((4, 5, 6, 2), (1, 2))])
def test_bands_are_compared_on_the_scale_asked_for(shape, axes, normalize):
    student, teacher = normal(0, *shape), normal(1, *shape, scale=7.0)
    actual = distances(student, teacher, axes=axes, normalize=normalize)
    expected = oracles.frequency_distances(student, teacher, HALF, axes=axes, normalize=normalize)
    for band in ("low", "high"):
        np.testing.assert_allclose(actual[band], expected[band], rtol=1e-5, err_msg=band)


@pytest.mark.parametrize("low_loss", ["mse", "log_mse"])
@pytest.mark.parametrize("high_loss", ["mse", "log_mse"])
def test_each_band_is_compared_by_the_loss_asked_for(low_loss, high_loss):
    student, teacher = normal(0, 4, 16), normal(1, 4, 16)
    actual = distances(student, teacher, low_loss=low_loss, high_loss=high_loss)
    logs = (low_loss == "log_mse", high_loss == "log_mse")
    expected = oracles.frequency_distances(student, teacher, HALF, logs=logs)
    for band in ("low", "high"):
        np.testing.assert_allclose(actual[band], expected[band], rtol=1e-5, err_msg=band)


@pytest.mark.parametrize(("basis", "split"), [("dct", "dct_bands"), ("haar", "haar_bands")])
def test_frequency_distances_in_another_basis_equal_their_numpy_version(basis, split):
    student, teacher = normal(0, 4, 16), normal(1, 4, 16, scale=7.0)
    actual = distances(student, teacher, basis=basis, cutoff=0.25)
    expected = oracles.frequency_distances(
        student, teacher, Fraction(1, 4), split=getattr(oracles, split)
    )
    for band in ("low", "high"):
        np.testing.assert_allclose(actual[band], expected[band], rtol=1e-5, err_msg=band)


def test_the_seed_of_a_random_basis_reaches_the_split():
    student, teacher = normal(0, 4, 16), normal(1, 4, 16)
    first, other = (distances(student, teacher, basis="random", basis_seed=s) for s in (0, 1))
    assert np.all(np.abs(first["low"] - other["low"]) > 1e-4)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"low_loss": "none"}, ["high"]),
        ({"high_loss": "none"}, ["low"]),
        ({"low_loss": "none", "high_loss": "none"}, []),
    ],
)
def test_a_band_without_a_loss_has_no_term_and_leaves_the_other_alone(options, left):
    student, teacher = normal(0, 4, 16), normal(1, 4, 16)
    actual = distances(student, teacher, **options)
    assert list(actual) == left
    for band, value in actual.items():
        np.testing.assert_array_equal(value, distances(student, teacher)[band])


def test_only_over_the_root_mean_square_does_the_log_compress_much():
    student, teacher = normal(0, 8, 512), normal(1, 8, 512)

    def ratio(normalize):
        log, plain = (
            distances(student, teacher, normalize=normalize, high_loss=loss)["high"]
            for loss in ("log_mse", "mse")
        )
        return log / plain

    assert np.all(ratio("band") > 0.9)
    assert np.all(ratio("rms") < 0.5)


@pytest.mark.parametrize("axes", [(0,), (0, 1), (-2,)])
def test_frequency_distances_refuse_the_batch_axis(axes):
    with pytest.raises(ValueError, match="axes must not hold the batch axis 0"):
        losses.frequency_distances(jnp.ones((4, 4)), jnp.ones((4, 4)), axes=axes)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("reduction", "'mean' or 'sum'"),
        ("basis", "'dft', 'dct', 'haar' or 'random'"),
        ("normalize", "'band', 'before', 'rms' or 'none'"),
        ("low_loss", "'mse', 'log_mse' or 'none'"),
        ("high_loss", "'mse', 'log_mse' or 'none'"),
    ],
)
def test_frequency_distances_refuse_an_unknown_choice(option, known):
    with pytest.raises(ValueError, match=f"^{option} must be {known}, got 'max'"):
        losses.frequency_distances(jnp.ones((2, 8)), jnp.ones((2, 8)), **{option: "max"})


def test_frequency_distances_refuse_a_bad_cutoff():
    with pytest.raises(ValueError, match=r"cutoff must lie inside \(0, 1\), got 1\.0"):
        losses.frequency_distances(jnp.ones((2, 8)), jnp.ones((2, 8)), cutoff=1.0)


# combine


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
