"""Losses of sequences with padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_cases import normal

from fdcmkd_jax import losses

N, T, D = 4, 7, 8
LENGTHS = np.array([7, 3, 1, 5])
MASK = jnp.asarray(np.arange(T)[None, :] < LENGTHS[:, None])


def mean_squared_error(student, teacher, mask=None):
    return losses.masked_mean_squared_error(student, teacher, mask)


def low(student, teacher, mask=None):
    return losses.masked_frequency_distances(student, teacher, mask)["low"]


def high(student, teacher, mask=None):
    return losses.masked_frequency_distances(student, teacher, mask)["high"]


each_loss = pytest.mark.parametrize("loss", [mean_squared_error, low, high])


# Masks


def test_a_frame_mask_marks_the_first_frames():
    mask = losses.frame_mask(jnp.asarray(LENGTHS), T)
    np.testing.assert_array_equal(mask, MASK)
    np.testing.assert_array_equal(mask.sum(axis=1), LENGTHS)


@pytest.mark.parametrize("rest", [(), (D,), (2, 3)])
def test_a_masked_mean_is_the_mean_of_the_valid_frames(rest):
    x = normal(0, N, T, *rest)
    expected = [
        np.asarray(x[row, :length], np.float64).mean() for row, length in enumerate(LENGTHS)
    ]
    np.testing.assert_allclose(losses.masked_mean(x, MASK), expected, rtol=1e-5)


def test_a_masked_mean_without_a_mask_is_the_mean_of_all_frames():
    x = normal(0, N, T)
    np.testing.assert_array_equal(losses.masked_mean(x), jnp.mean(x, axis=1))


def test_a_masked_mean_of_no_frame_is_zero_with_a_finite_gradient():
    empty = jnp.zeros((N, T), bool)
    x = jnp.full((N, T), np.nan)
    np.testing.assert_array_equal(losses.masked_mean(x, empty), np.zeros(N))
    gradient = jax.grad(lambda x: jnp.sum(losses.masked_mean(x, empty)))(x)
    np.testing.assert_array_equal(gradient, np.zeros((N, T)))


# Losses by frame


@each_loss
def test_a_masked_loss_is_that_of_each_example_cut_to_its_valid_frames(loss):
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)
    actual = loss(student, teacher, MASK)
    assert actual.shape == (N,)
    assert actual.dtype == jnp.float32
    for row, length in ((1, 3), (3, 5)):
        cut = loss(student[row : row + 1, :length], teacher[row : row + 1, :length])
        np.testing.assert_allclose(actual[row], cut[0], rtol=1e-5)


@each_loss
def test_valid_frames_may_stand_anywhere(loss):
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)
    order = np.array([4, 0, 6, 2, 5, 1, 3])
    expected = loss(student, teacher, MASK)
    actual = loss(student[:, order], teacher[:, order], MASK[:, order])
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_without_a_mask_the_losses_are_the_plain_ones_to_the_bit():
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)
    np.testing.assert_array_equal(
        losses.masked_mean_squared_error(student, teacher),
        losses.mean_squared_error(student, teacher),
    )
    options = {"cutoff": 0.25, "normalize": "rms", "high_loss": "mse"}
    actual = losses.masked_frequency_distances(student, teacher, **options)
    expected = losses.frequency_distances(student, teacher, **options)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_resampling_between_equal_lengths_leaves_the_plain_losses_to_the_bit():
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)
    lengths = jnp.full(N, T)
    laid = losses.resample_frames(teacher, lengths, T, new_lengths=lengths)
    actual = losses.masked_frequency_distances(student, laid)
    jax.tree.map(
        np.testing.assert_array_equal, actual, losses.frequency_distances(student, teacher)
    )


@each_loss
def test_a_mask_without_padding_changes_only_the_rounding(loss):
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)
    everything = jnp.ones((N, T), bool)
    np.testing.assert_allclose(
        loss(student, teacher, everything), loss(student, teacher), rtol=1e-6
    )


@each_loss
@pytest.mark.parametrize("padding", [1e30, np.nan, np.inf])
def test_padding_changes_neither_a_masked_loss_nor_its_gradients(padding, loss):
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)

    @jax.jit
    def run(student, teacher):
        return jax.value_and_grad(lambda s, t: jnp.sum(loss(s, t, MASK)), argnums=(0, 1))(
            student, teacher
        )

    expected = run(student, teacher)
    padded = run(*(jnp.where(MASK[..., None], x, padding) for x in (student, teacher)))
    jax.tree.map(np.testing.assert_array_equal, padded, expected)
    for gradient in padded[1]:
        assert np.all(gradient[~np.asarray(MASK)] == 0)


@each_loss
def test_an_example_without_a_valid_frame_has_no_loss_and_no_gradient(loss):
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)
    mask = MASK.at[2].set(False)
    assert loss(student, teacher, mask)[2] == 0
    gradient = jax.grad(lambda s: jnp.sum(loss(s, teacher, mask)))(student)
    assert np.isfinite(gradient).all()
    assert np.all(gradient[2] == 0)


@each_loss
def test_a_masked_loss_is_the_same_under_jit_vmap_and_pmap(loss, transform):
    student, teacher = normal(0, N, T, D), normal(1, N, T, D)
    expected = loss(student, teacher, MASK)
    np.testing.assert_allclose(transform(loss)(student, teacher, MASK), expected, rtol=3e-6)


def test_a_teacher_of_another_rate_and_length_is_laid_on_the_students_frames():
    # The teacher hears the same slow wave at twice the rate, so it agrees after resampling.
    def wave(frames, lengths):
        time = (np.arange(frames)[None] + 0.5) / lengths[:, None]
        phase = np.linspace(0, 2, D)
        return jnp.asarray(np.cos(2 * time[..., None] + phase), jnp.float32)

    lengths, twice = np.array([30, 20]), np.array([60, 40])
    student, teacher = wave(32, lengths), wave(70, twice)
    laid = losses.resample_frames(teacher, jnp.asarray(twice), 32, new_lengths=jnp.asarray(lengths))
    mask = losses.frame_mask(jnp.asarray(lengths), 32)
    np.testing.assert_allclose(
        losses.masked_mean_squared_error(student, laid, mask), np.zeros(2), atol=1e-5
    )
    assert np.all(losses.masked_mean_squared_error(student, teacher[:, :32], mask) > 1e-2)


def test_a_band_without_a_loss_has_no_term_in_sequences_either():
    x = normal(0, N, T, D)
    assert list(losses.masked_frequency_distances(x, x, MASK, low_loss="none")) == ["high"]


@pytest.mark.usefixtures("without_type_checks")
def test_masked_losses_refuse_other_shapes_masks_and_axes():
    x, mask = jnp.ones((2, 3, 8)), jnp.ones((2, 4), bool)
    with pytest.raises(ValueError, match=r"must have one shape, got \(2, 3, 8\) and \(2, 4, 8\)"):
        losses.masked_frequency_distances(x, jnp.ones((2, 4, 8)))
    message = r"the mask must have the frames' shape \(2, 3\), got \(2, 4\)"
    for loss in (losses.masked_mean_squared_error, losses.masked_frequency_distances):
        with pytest.raises(ValueError, match=message):
            loss(x, x, mask)
    with pytest.raises(ValueError, match=message):
        losses.masked_mean(x, mask)
    with pytest.raises(ValueError, match=r"over its features alone, got axes \(1,\)"):
        losses.masked_frequency_distances(x, x, axes=(1,))
    with pytest.raises(ValueError, match=r"a sequence must have shape \[N, T, D\], got \(2, 8\)"):
        losses.masked_frequency_distances(x[:, 0], x[:, 0])
