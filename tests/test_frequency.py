"""The split by the DFT."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import HALF
from split_cases import ATOL, CUTOFFS, assert_bands_are

from fdcmkd_jax import frequency
from fdcmkd_jax.frequency import split_bands

SHAPES_AND_AXES = [
    ((8,), (-1,)),
    ((3, 4), (1,)),
    ((3, 9), (-1,)),
    ((2, 200), (-1,)),
    ((2, 5, 16), (-1,)),
    ((2, 5, 7), (1,)),
    ((2, 6, 4, 3), (1, 2)),
    ((2, 5, 7, 3), (1, 2)),
    ((2, 7, 8, 3), (2, 1)),
    ((2, 8, 5, 6), (-1,)),
    ((2, 4, 5, 6), (1, 2, 3)),
    ((6, 2, 7), (0, -1)),
]


@pytest.mark.parametrize(("shape", "axes"), SHAPES_AND_AXES)
def test_bands_equal_masks_on_the_full_complex_spectrum(shape, axes, rng):
    x = rng.normal(1.0, 1.0, shape).astype(np.float32)
    variants = [(cutoff, keep_dc) for cutoff in CUTOFFS for keep_dc in (False, True)]

    @jax.jit
    def split(x):
        return [split_bands(x, cutoff=float(c), axes=axes, keep_dc=keep) for c, keep in variants]

    for (cutoff, keep_dc), actual in zip(variants, split(x), strict=True):
        assert_bands_are(actual, oracles.bands(x, cutoff, axes=axes, keep_dc=keep_dc))


@given(size=st.integers(4, 40), percent=st.integers(1, 99), seed=st.integers(0, 99))
def test_bands_of_any_size_and_cutoff_equal_masks_on_the_full_spectrum(size, percent, seed):
    x = np.random.default_rng(seed).normal(size=(2, size)).astype(np.float32)
    actual = jax.jit(functools.partial(split_bands, cutoff=percent / 100))(x)
    assert_bands_are(actual, oracles.bands(x, Fraction(percent, 100)))


@pytest.mark.parametrize(("shape", "axes"), SHAPES_AND_AXES)
def test_the_bands_add_up_to_the_input_less_the_mean_where_that_is_dropped(shape, axes, rng):
    x = rng.normal(1.0, 1.0, shape).astype(np.float32)
    kept, dropped = jax.jit(
        lambda x: [split_bands(x, axes=axes, keep_dc=keep_dc) for keep_dc in (True, False)]
    )(x)
    np.testing.assert_allclose(kept.low + kept.high, x, rtol=0, atol=1e-6)
    centered = x - x.astype(np.float64).mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(dropped.low + dropped.high, centered, rtol=0, atol=1e-6)


@pytest.mark.parametrize("keep_dc", [False, True])
@pytest.mark.parametrize(("shape", "axes"), [((3, 16), (-1,)), ((2, 5, 6, 2), (1, 2))])
def test_splitting_a_band_again_changes_nothing(shape, axes, keep_dc, rng):
    x = jnp.asarray(rng.normal(1.0, 1.0, shape), jnp.float32)
    low, high = split_bands(x, axes=axes, keep_dc=keep_dc)
    assert_bands_are(split_bands(low, axes=axes, keep_dc=keep_dc), (low, jnp.zeros(shape)))
    assert_bands_are(split_bands(high, axes=axes, keep_dc=keep_dc), (jnp.zeros(shape), high))


@pytest.mark.parametrize("keep_dc", [False, True])
@pytest.mark.parametrize("size", [16, 17])
def test_the_low_band_of_one_signal_is_orthogonal_to_the_high_band_of_another(size, keep_dc, rng):
    x, y = jnp.asarray(rng.normal(1.0, 1.0, (2, 5, size)), jnp.float32)
    inner = jnp.sum(split_bands(x, keep_dc=keep_dc).low * split_bands(y, keep_dc=keep_dc).high, -1)
    np.testing.assert_allclose(inner, np.zeros(5), rtol=0, atol=ATOL)


@pytest.mark.parametrize(("shape", "axes"), [((3, 15), (-1,)), ((2, 5, 6, 2), (1, 2))])
def test_the_split_is_linear(shape, axes, rng):
    x, y = jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)
    mixed = split_bands(2.0 * x - 0.5 * y, axes=axes)
    parts = zip(split_bands(x, axes=axes), split_bands(y, axes=axes), strict=True)
    assert_bands_are(mixed, [2.0 * a - 0.5 * b for a, b in parts])


def test_in_512_numbers_cosines_1_to_128_are_low_and_129_to_256_are_high():
    bins = np.arange(1, 257)[:, None]
    waves = np.cos(2 * np.pi * bins * np.arange(512) / 512).astype(np.float32)
    low, high = split_bands(jnp.asarray(waves))
    is_low = bins <= 128
    np.testing.assert_allclose(low, np.where(is_low, waves, 0), rtol=0, atol=ATOL)
    np.testing.assert_allclose(high, np.where(is_low, 0, waves), rtol=0, atol=ATOL)


def test_over_space_a_wave_is_low_only_if_it_is_slow_along_both_axes():
    rows, columns = np.meshgrid(np.arange(8), np.arange(12), indexing="ij")

    def wave(down, right):
        return np.cos(2 * np.pi * (down * rows / 8 + right * columns / 12) + 0.3)

    # Half of 4 and of 6 bins: at most 2 along the rows and 3 along the columns is low. A negative
    # bin is as fast as the positive one.
    slow = [wave(2, 3), wave(-2, 3), wave(0, 3), wave(2, 0), wave(1, -1)]
    fast = [wave(3, 0), wave(0, 4), wave(-3, 3), wave(2, -4), wave(4, 6)]
    x = np.stack([*slow, *fast]).astype(np.float32)[..., None]
    low, high = split_bands(jnp.asarray(x), axes=(1, 2))
    expected = np.where(np.arange(10)[:, None, None, None] < 5, x, 0)
    np.testing.assert_allclose(low, expected, rtol=0, atol=ATOL)
    np.testing.assert_allclose(high, x - expected, rtol=0, atol=ATOL)


def test_a_cutoff_below_the_first_bin_leaves_the_low_band_empty(rng):
    x = jnp.asarray(rng.normal(size=(2, 5)), jnp.float32)
    low, high = split_bands(x, cutoff=0.1)
    np.testing.assert_allclose(low, np.zeros((2, 5)), rtol=0, atol=1e-7)
    np.testing.assert_allclose(high, x - x.mean(-1, keepdims=True), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("shape", "axes"), [((3, 16), (-1,)), ((2, 5, 6, 2), (1, 2))])
def test_a_constant_added_to_the_signal_is_in_neither_band(shape, axes, rng):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    assert_bands_are(split_bands(x + 3.0, axes=axes), split_bands(x, axes=axes))


def test_a_kept_mean_goes_to_the_low_band():
    low, high = split_bands(jnp.full((2, 8), 3.0), keep_dc=True)
    np.testing.assert_allclose(low, np.full((2, 8), 3.0), rtol=1e-6)
    np.testing.assert_allclose(high, np.zeros((2, 8)), atol=1e-6)


@pytest.mark.parametrize(("shape", "axes"), [((3, 11), (-1,)), ((2, 5, 6, 2), (1, 2))])
def test_shifting_the_signal_in_a_circle_shifts_its_bands(shape, axes, rng):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    steps = tuple(range(2, 2 + len(axes)))
    shifted = split_bands(jnp.roll(x, steps, axes), axes=axes)
    assert_bands_are(shifted, [jnp.roll(band, steps, axes) for band in split_bands(x, axes=axes)])


def test_vectors_do_not_see_each_other(rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32)
    together = split_bands(x)
    for row in range(2):
        for column in range(3):
            alone = split_bands(x[row, column])
            assert_bands_are([band[row, column] for band in together], alone, atol=1e-6)


@pytest.mark.parametrize("axes", [(1, 2), (2, 1), (-3, 2), (-2, -3)])
def test_the_order_and_sign_of_axes_do_not_matter(axes, rng):
    x = jnp.asarray(rng.normal(size=(2, 5, 8, 3)), jnp.float32)
    np.testing.assert_array_equal(
        split_bands(x, axes=axes, cutoff=0.4), split_bands(x, axes=(1, 2), cutoff=0.4)
    )


def test_bfloat16_is_computed_wide_and_returned_as_bfloat16(rng):
    x = jnp.asarray(rng.normal(1.0, 1.0, (3, 64)), jnp.bfloat16)
    bands = split_bands(x)
    assert [band.dtype for band in bands] == [jnp.bfloat16, jnp.bfloat16]
    # One rounding to bfloat16 at the end and none before: each number is within half a step.
    for band, exact in zip(bands, oracles.bands(np.asarray(x), HALF), strict=True):
        np.testing.assert_allclose(np.asarray(band, np.float64), exact, rtol=2**-8, atol=ATOL)


def test_float64_is_computed_and_returned_in_float64(rng):
    x = rng.normal(1.0, 1.0, (3, 33))
    with jax.enable_x64(True):
        bands = split_bands(jnp.asarray(x))
        assert [band.dtype for band in bands] == [jnp.float64, jnp.float64]
        assert_bands_are(bands, oracles.bands(x, HALF), atol=1e-13)


@pytest.mark.parametrize(("shape", "axes"), [((4, 9), (-1,)), ((4, 5, 6, 2), (1, 2))])
def test_the_split_is_the_same_under_jit_vmap_and_pmap(shape, axes, transform, rng):
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)

    def split(x):
        return split_bands(x, axes=axes)

    assert_bands_are(transform(split)(x), split(x), atol=1e-6)


@pytest.mark.parametrize("band", ["low", "high"])
def test_the_gradient_through_a_band_is_the_band_of_the_gradient(band, rng):
    # The split is an orthogonal projection, hence its own transpose.
    x, weights = jnp.asarray(rng.normal(size=(2, 3, 9)), jnp.float32)
    gradient = jax.grad(lambda x: jnp.sum(weights * getattr(split_bands(x), band)))(x)
    expected = getattr(split_bands(weights), band)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=ATOL)


def test_fewer_than_four_entries_are_refused():
    with pytest.raises(ValueError, match="needs at least 4 entries, got 3"):
        split_bands(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="needs at least 4 entries, got 3"):
        split_bands(jnp.ones((2, 8, 3, 1)), axes=(1, 2))


@pytest.mark.parametrize("axes", [(1, 1), (1, -2), (-1, 2)])
def test_a_repeated_axis_is_refused(axes):
    with pytest.raises(ValueError, match=r"axes must not repeat, got \(.*\) for a rank-3 array"):
        split_bands(jnp.ones((4, 4, 4)), axes=axes)


@pytest.mark.parametrize("axes", [(), (2,), (-3,), (0, 5)])
def test_no_axis_or_one_that_does_not_exist_is_refused(axes):
    with pytest.raises(ValueError, match=r"axes must name axes of a rank-2 array, got \("):
        split_bands(jnp.ones((4, 4)), axes=axes)


def test_normalized_axes_are_sorted_and_not_negative():
    assert frequency.normalize_axes((-1, 1), 4) == (1, 3)
