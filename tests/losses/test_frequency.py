"""Distances between the bands of student and teacher."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from loss_cases import normal
from oracles import HALF

from fdcmkd_jax import losses
from fdcmkd_jax.frequency import split_bands

distances = jax.jit(
    losses.frequency_distances,
    static_argnames=(
        *("cutoff", "axes", "basis", "basis_seed", "normalize", "low_loss", "high_loss"),
        *("reduction", "epsilon"),
    ),
)


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
