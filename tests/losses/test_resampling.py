"""Frames resampled in time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from loss_cases import normal

from fdcmkd_jax import losses

N, T, D = 4, 7, 8
LENGTHS = np.array([7, 3, 1, 5])
MASK = jnp.asarray(np.arange(T)[None, :] < LENGTHS[:, None])


def interpolated(x, size):
    """Frames ``[T, D]`` resampled by PyTorch."""
    frames = torch.tensor(np.asarray(x, np.float64)).T[None]
    return torch.nn.functional.interpolate(frames, size=size, mode="linear")[0].T.numpy()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12])
def test_the_valid_frames_are_resampled_as_by_pytorch(size):
    x = normal(0, N, T, D)
    actual = losses.resample_frames(x, jnp.asarray(LENGTHS), size)
    assert actual.shape == (N, size, D)
    for row, length in enumerate(LENGTHS):
        expected = interpolated(x[row, :length], size)
        np.testing.assert_allclose(actual[row], expected, rtol=1e-5, atol=1e-6)


def test_each_example_is_spread_over_its_own_number_of_new_frames():
    x, new_lengths = normal(0, N, T, D), np.array([3, 6, 2, 5])
    actual = losses.resample_frames(
        x, jnp.asarray(LENGTHS), 6, new_lengths=jnp.asarray(new_lengths)
    )
    for row, (length, new_length) in enumerate(zip(LENGTHS, new_lengths, strict=True)):
        expected = interpolated(x[row, :length], int(new_length))
        np.testing.assert_allclose(actual[row, :new_length], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(actual[row, new_length:], np.zeros((6 - new_length, D)))


def test_resampling_gives_the_numbers_worked_by_hand():
    x = jnp.array([1.0, 5.0, 9.0, 99.0]).reshape(1, 4, 1)
    # Two frames of three: centers at 0.25 and 1.75 of 0, 1, 2.
    actual = losses.resample_frames(x, jnp.array([3]), 2)
    np.testing.assert_allclose(actual[0, :, 0], [2.0, 8.0])


@pytest.mark.parametrize("frames", [3, 7, 100, 997])
def test_resampling_to_the_same_lengths_changes_no_bit(frames):
    x = normal(0, 2, frames, D)
    np.testing.assert_array_equal(losses.resample_frames(x, None, frames), x)
    lengths = jnp.array([frames, frames - 2])
    same = jax.jit(functools.partial(losses.resample_frames, size=frames))(
        x, lengths, new_lengths=lengths
    )
    np.testing.assert_array_equal(same[0], x[0])
    np.testing.assert_array_equal(same[1, :-2], x[1, :-2])


@pytest.mark.parametrize("padding", [0.0, 1e30, np.nan, np.inf])
def test_padding_changes_neither_resampled_frames_nor_their_gradient(padding):
    x = normal(0, N, T, D)
    padded = jnp.where(MASK[..., None], x, padding)

    @jax.jit
    @jax.value_and_grad
    def total(x):
        return jnp.sum(jnp.square(losses.resample_frames(x, jnp.asarray(LENGTHS), 5)))

    value, gradient = total(padded)
    expected_value, expected_gradient = total(x)
    np.testing.assert_array_equal(value, expected_value)
    np.testing.assert_array_equal(gradient, expected_gradient)
    assert np.all(gradient[~np.asarray(MASK)] == 0)


def test_a_constant_sequence_stays_constant_at_any_length():
    x = jnp.full((2, T, D), 3.0)
    actual = losses.resample_frames(x, jnp.array([7, 2]), 11)
    np.testing.assert_allclose(actual, np.full((2, 11, D), 3.0), rtol=1e-6)


def test_an_example_without_frames_resamples_to_zeros_with_finite_gradients():
    x = jnp.full((1, T, D), np.nan)

    def total(x):
        return jnp.sum(losses.resample_frames(x, jnp.array([0]), 4))

    assert total(x) == 0
    assert np.all(jax.grad(total)(x) == 0)


def test_a_length_beyond_the_frames_shows_as_nan():
    actual = losses.resample_frames(normal(0, 1, T, D), jnp.array([T + 3]), T)
    assert np.isnan(actual[0, -1]).all()


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int16, jnp.int32])
def test_lengths_may_have_any_whole_type(dtype):
    x = normal(0, 1, 200, 2)
    expected = losses.resample_frames(x, jnp.array([180]), 150)
    actual = losses.resample_frames(x, jnp.array([180]).astype(dtype), 150)
    np.testing.assert_array_equal(actual, expected)


def test_resampling_widens_bfloat16_and_keeps_float64():
    x = normal(0, N, T, D)
    lengths = jnp.asarray(LENGTHS)
    assert losses.resample_frames(x.astype(jnp.bfloat16), lengths, 5).dtype == jnp.float32
    with jax.enable_x64(True):
        wide = losses.resample_frames(jnp.asarray(np.asarray(x), jnp.float64), lengths, 5)
        assert wide.dtype == jnp.float64
        expected = interpolated(x[1, :3], 5)
        np.testing.assert_allclose(wide[1], expected, rtol=1e-12, atol=1e-13)


def test_resampling_is_the_same_under_jit_vmap_and_pmap(transform):
    x, lengths = normal(0, N, T, D), jnp.asarray(LENGTHS)

    def resample(x, lengths):
        return losses.resample_frames(x, lengths, 5)

    expected = resample(x, lengths)
    np.testing.assert_allclose(transform(resample)(x, lengths), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("without_type_checks")
def test_resampling_refuses_what_is_no_sequence_and_lengths_of_another_batch():
    x = jnp.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"a sequence must have shape \[N, T, D\], got \(2, 3\)"):
        losses.resample_frames(jnp.ones((2, 3)), None, 5)
    with pytest.raises(ValueError, match=r"lengths must have shape \(2,\), got \(3,\)"):
        losses.resample_frames(x, jnp.array([1, 2, 3]), 5)
    with pytest.raises(ValueError, match=r"new_lengths must have shape \(2,\), got \(1,\)"):
        losses.resample_frames(x, None, 5, new_lengths=jnp.array([1]))


@pytest.mark.parametrize("size", [0, -1, 400_000_000])
def test_resampling_refuses_a_size_out_of_range(size):
    message = rf"size must lie in \[1, 357913941\] for 3 frames, got {size}"
    with pytest.raises(ValueError, match=message):
        losses.resample_frames(jnp.ones((2, 3, 4)), None, size)
