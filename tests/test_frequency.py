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

from fdcmkd_jax import frequency
from fdcmkd_jax.frequency import SoftCutoff, band_bins, band_rank, split_bands

# Rounding of a float32 transform of a few hundred numbers near 1.
ATOL = 5e-6

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
CUTOFFS = [Fraction(1, 4), Fraction(1, 3), HALF, Fraction(29, 100)]


def assert_bands_are(actual, expected, atol=ATOL):
    for name, one, other in zip(("low", "high"), actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=name)


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
    centred = x - x.astype(np.float64).mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(dropped.low + dropped.high, centred, rtol=0, atol=1e-6)


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


@pytest.mark.parametrize(
    ("size", "cutoff", "expected"),
    [
        (512, 0.5, 128),
        (512, 0.25, 64),
        (512, 1 / 3, 85),  # floor(85.3)
        (6, 1 / 3, 1),
        (200, 0.29, 29),  # 0.29 * 100 is 28.999999999999996 in binary
        (200, 0.57, 57),  # and 0.57 * 100 is 56.99999999999999
        (9, 0.5, 2),
        (7, 0.5, 1),  # floor(1.5)
        (4, 0.5, 1),
        (4, 0.49, 0),
        (4, 0.999, 1),
    ],
)
def test_band_bins_is_the_floor_of_the_share_of_half_the_size(size, cutoff, expected):
    assert band_bins(size, cutoff=cutoff) == expected


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


@pytest.mark.parametrize("cutoff", [0.0, 1.0, 1.5, -0.5, float("nan")])
def test_a_cutoff_outside_the_open_unit_interval_is_refused(cutoff):
    with pytest.raises(ValueError, match=rf"cutoff must lie inside \(0, 1\), got {cutoff}\."):
        split_bands(jnp.ones((2, 8)), cutoff=cutoff)


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


# Other bases


def directions(size, *, cutoff=0.5, seed=7):
    """Directions as a learned split has them: as many as the DFT's low band."""
    shape = (size, band_rank(size, cutoff=cutoff))
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def split_in(basis, size, **options):
    """`split_bands` in a basis by name, compiled; ``"learned"`` is an array of directions."""
    chosen = directions(size) if basis == "learned" else basis
    return jax.jit(functools.partial(split_bands, basis=chosen, **options))


# The even size is no power of two. The Haar wavelet needs pairs.
BASES_AND_SIZES = [
    (basis, size)
    for basis in ("dft", "dct", "haar", "random", "learned")
    for size in (16, 12, 17)
    if (basis, size) != ("haar", 17)
]
each_basis = pytest.mark.parametrize(("basis", "size"), BASES_AND_SIZES)


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 9), (40,), (2, 200)])
@pytest.mark.parametrize("cutoff", CUTOFFS, ids=str)
def test_dct_bands_equal_scipys_cosines_masked(shape, cutoff, rng):
    x = rng.normal(1.0, 1.0, shape).astype(np.float32)
    actual = split_bands(jnp.asarray(x), basis="dct", cutoff=float(cutoff))
    assert_bands_are(actual, oracles.dct_bands(x, cutoff))


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 12), (64,), (2, 200)])
@pytest.mark.parametrize("cutoff", [*CUTOFFS, Fraction(3, 4), Fraction(999, 1000)], ids=str)
def test_haar_bands_equal_a_pyramid_of_sums_and_differences(shape, cutoff, rng):
    x = rng.normal(1.0, 1.0, shape).astype(np.float32)
    actual = split_bands(jnp.asarray(x), basis="haar", cutoff=float(cutoff))
    assert_bands_are(actual, oracles.haar_bands(x, cutoff))


def test_the_haar_split_at_one_half_gives_the_numbers_worked_by_hand():
    # Mean 4; pairs have means 2, 6, 1, 7, and each pair's first is 1 below or above its mean.
    x = jnp.array([1.0, 3.0, 7.0, 5.0, 1.0, 1.0, 6.0, 8.0])
    low, high = split_bands(x, basis="haar")
    np.testing.assert_allclose(low, [-2, -2, 2, 2, -3, -3, 3, 3], atol=1e-6)
    np.testing.assert_allclose(high, [-1, 1, 1, -1, 0, 0, -1, 1], atol=1e-6)


@each_basis
def test_in_any_basis_the_bands_add_up_and_the_mean_is_in_neither_or_in_low(basis, size, rng):
    x = jnp.asarray(rng.normal(1.0, 1.0, (3, size)), jnp.float32)
    kept = split_in(basis, size, keep_dc=True)(x)
    np.testing.assert_allclose(kept.low + kept.high, x, rtol=0, atol=1e-6)
    dropped = split_in(basis, size)(x)
    for band in dropped:
        np.testing.assert_allclose(band.mean(-1), np.zeros(3), rtol=0, atol=1e-6)
    mean = jnp.broadcast_to(x.mean(-1, keepdims=True), x.shape)
    assert_bands_are(kept, (dropped.low + mean, dropped.high))


@each_basis
def test_in_any_basis_splitting_a_band_again_changes_nothing(basis, size, rng):
    split = split_in(basis, size)
    low, high = split(jnp.asarray(rng.normal(1.0, 1.0, (3, size)), jnp.float32))
    assert_bands_are(split(low), (low, jnp.zeros_like(low)))
    assert_bands_are(split(high), (jnp.zeros_like(high), high))


@each_basis
def test_in_any_basis_the_low_band_of_one_signal_is_orthogonal_to_the_high_of_another(
    basis, size, rng
):
    x, y = jnp.asarray(rng.normal(1.0, 1.0, (2, 5, size)), jnp.float32)
    split = split_in(basis, size)
    inner = jnp.sum(split(x).low * split(y).high, -1)
    np.testing.assert_allclose(inner, np.zeros(5), rtol=0, atol=1e-5)


@each_basis
def test_in_any_basis_the_split_is_linear(basis, size, rng):
    x, y = jnp.asarray(rng.normal(size=(2, 3, size)), jnp.float32)
    split = split_in(basis, size)
    expected = [2.0 * a - 0.5 * b for a, b in zip(split(x), split(y), strict=True)]
    assert_bands_are(split(2.0 * x - 0.5 * y), expected)


@pytest.mark.parametrize("size", [4, 5, 16, 17])
@pytest.mark.parametrize("cutoff", CUTOFFS, ids=str)
def test_dct_random_and_learned_low_bands_have_the_rank_of_the_dfts(cutoff, size):
    rank = oracles.low_rank(size, cutoff)
    assert band_rank(size, cutoff=float(cutoff)) == rank
    bases = ("dft", "dct", "random", directions(size, cutoff=float(cutoff)))

    @jax.jit
    def bands_of_unit_vectors(x):
        return [split_bands(x, basis=basis, cutoff=float(cutoff)) for basis in bases]

    for low, high in bands_of_unit_vectors(jnp.eye(size)):
        assert np.linalg.matrix_rank(low, tol=1e-4) == rank
        assert np.linalg.matrix_rank(high, tol=1e-4) == size - 1 - rank


def test_bin_half_the_size_adds_one_dimension_where_the_low_band_reaches_it():
    nearly_one = 1 - 1e-12  # Floors to all bins: the nudge for decimals is larger.
    low, high = split_bands(jnp.eye(8), cutoff=nearly_one)
    assert band_rank(8, cutoff=nearly_one) == np.linalg.matrix_rank(low, tol=1e-4) == 7
    np.testing.assert_allclose(high, np.zeros((8, 8)), rtol=0, atol=ATOL)


@pytest.mark.parametrize(("cutoff", "rank"), [(0.5, 7), (0.7, 7), (0.3, 3), (0.25, 3), (0.1, 0)])
def test_the_haar_low_band_has_one_dimension_a_block_but_the_mean(cutoff, rank):
    low, high = split_in("haar", 16, cutoff=cutoff)(jnp.eye(16))
    assert np.linalg.matrix_rank(low, tol=1e-4) == rank
    assert np.linalg.matrix_rank(high, tol=1e-4) == 15 - rank


@pytest.mark.parametrize("basis", ["dft", "dct", "haar", "random", "learned"])
def test_in_any_basis_every_vector_along_one_axis_is_split_alone(basis, rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32)
    together = split_in(basis, 8)(x)
    alone = split_in(basis, 8)(x[1, 2])
    assert_bands_are([band[1, 2] for band in together], alone, atol=1e-6)
    turned = split_in(basis, 8, axes=(1,))(jnp.swapaxes(x, 1, 2))
    assert_bands_are([jnp.swapaxes(band, 1, 2) for band in turned], together, atol=1e-6)


@pytest.mark.parametrize("basis", ["dct", "haar", "random", "learned"])
def test_in_any_basis_the_split_is_the_same_under_jit_vmap_and_pmap(basis, transform, rng):
    x = jnp.asarray(rng.normal(size=(4, 8)), jnp.float32)
    chosen = directions(8) if basis == "learned" else basis

    def split(x):
        return split_bands(x, basis=chosen)

    assert_bands_are(transform(split)(x), split(x), atol=1e-6)


@each_basis
def test_in_any_basis_the_gradient_through_a_band_is_the_band_of_the_gradient(basis, size, rng):
    x, weights = jnp.asarray(rng.normal(size=(2, 3, size)), jnp.float32)
    split = split_in(basis, size)
    gradient = jax.grad(lambda x: jnp.sum(weights * split(x).low))(x)
    np.testing.assert_allclose(gradient, split(weights).low, rtol=0, atol=ATOL)


@pytest.mark.parametrize("basis", ["dct", "haar", "random", "learned"])
def test_in_any_basis_bfloat16_is_computed_wide_and_returned_as_bfloat16(basis, rng):
    x = jnp.asarray(rng.normal(1.0, 1.0, (3, 64)), jnp.bfloat16)
    exact = split_in(basis, 64)(x.astype(jnp.float32))
    for band, wide in zip(split_in(basis, 64)(x), exact, strict=True):
        assert band.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(band, np.float64), wide, rtol=2**-8, atol=ATOL)


@pytest.mark.parametrize("basis", ["dct", "haar", "random"])
def test_in_any_basis_float64_is_computed_in_float64(basis, rng):
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(1.0, 1.0, (3, 64)))
        low, high = split_bands(x, basis=basis)
        assert low.dtype == high.dtype == jnp.float64
        assert_bands_are(split_bands(low, basis=basis), (low, jnp.zeros((3, 64))), atol=1e-13)


def test_a_random_split_is_fixed_by_its_seed(rng):
    x = jnp.asarray(rng.normal(size=(3, 16)), jnp.float32)
    first, again, other = (split_in("random", 16, basis_seed=seed)(x) for seed in (0, 0, 1))
    assert_bands_are(again, first, atol=0)
    assert np.all(np.abs(other.low - first.low).max(-1) > 0.1)


def test_a_random_split_divides_every_frequency():
    waves = np.cos(2 * np.pi * np.arange(1, 33)[:, None] * np.arange(64) / 64).astype(np.float32)
    low = split_in("random", 64)(jnp.asarray(waves)).low
    shares = np.sum(np.square(low), -1) / np.sum(np.square(waves), -1)
    assert np.all((shares > 0.2) & (shares < 0.8))  # 32 of 63 directions: about a half of each


def test_the_span_of_directions_is_all_that_counts(rng):
    # Cosine and sine of the bins 1 to 4, mixed at random and shifted: the DFT's low band.
    angles = 2 * np.pi * np.outer(np.arange(16), np.arange(1, 5)) / 16
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    mixed = jnp.asarray(waves @ rng.normal(size=(8, 8)) + rng.normal(size=(1, 8)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(3, 16)), jnp.float32)
    # Float32 loses as many digits as the mixture stretches the directions unevenly.
    assert_bands_are(split_bands(x, basis=mixed), split_bands(x), atol=1e-4)


def test_directions_turn_towards_what_is_asked_of_them(rng):
    x = jnp.asarray(rng.normal(size=(1, 8)), jnp.float32)

    @jax.jit
    @jax.value_and_grad
    def energy_outside(chosen):
        return jnp.sum(jnp.square(split_bands(x, basis=chosen).high))

    chosen = directions(8)[:, :1]
    values = []
    for _ in range(30):
        value, gradient = energy_outside(chosen)
        values.append(value)
        chosen = chosen - 0.3 * gradient
    assert values[0] > 1.0
    assert values[-1] < 1e-3


# A soft cutoff


@pytest.mark.parametrize("basis", ["dft", "dct"])
@pytest.mark.parametrize("size", [16, 17])
def test_a_steep_soft_cutoff_between_two_frequencies_is_the_hard_one(basis, size, rng):
    # Bins 1 to 4 of 8 are low; in cosines of half a bin each, 1 to 8.
    x = jnp.asarray(rng.normal(1.0, 1.0, (3, size)), jnp.float32)
    soft = split_bands(x, cutoff=SoftCutoff(4.25 / 8, 1e4), basis=basis)
    assert_bands_are(soft, split_bands(x, cutoff=0.5, basis=basis))


def test_a_soft_cutoff_is_a_logistic_share_of_each_bin():
    waves = np.cos(2 * np.pi * np.arange(1, 9)[:, None] * np.arange(16) / 16).astype(np.float32)
    low, high = split_bands(jnp.asarray(waves), cutoff=SoftCutoff(0.5, 3.0))
    share = 1 / (1 + np.exp(-3.0 * (0.5 - np.arange(1, 9) / 8)))[:, None]
    np.testing.assert_allclose(low, share * waves, rtol=0, atol=ATOL)
    np.testing.assert_allclose(high, (1 - share) * waves, rtol=0, atol=ATOL)


def test_a_soft_cutoff_over_space_goes_by_the_faster_axis():
    rows, columns = np.meshgrid(np.arange(8), np.arange(12), indexing="ij")
    wave = np.cos(2 * np.pi * (-1 * rows / 8 + 4 * columns / 12) + 0.3).astype(np.float32)
    x = jnp.asarray(wave)[None, ..., None]
    low, _ = split_bands(x, cutoff=SoftCutoff(0.5, 3.0), axes=(1, 2))
    share = 1 / (1 + np.exp(-3.0 * (0.5 - 4 / 6)))  # 1 of 4 bins down, 4 of 6 across
    np.testing.assert_allclose(low, share * x, rtol=0, atol=ATOL)


@pytest.mark.parametrize("basis", ["dft", "dct"])
def test_the_bands_of_a_soft_cutoff_add_up_and_gradients_move_it(basis, rng):
    x = jnp.asarray(rng.normal(1.0, 1.0, (2, 3, 9)), jnp.float32)

    def split(soft):
        return split_bands(x, cutoff=soft, basis=basis, keep_dc=True)

    soft = SoftCutoff(jnp.float32(0.4), jnp.float32(6.0))
    low, high = jax.jit(split)(soft)
    np.testing.assert_allclose(low + high, x, rtol=0, atol=1e-6)
    energy = jax.jit(jax.grad(lambda soft: jnp.sum(jnp.square(split(soft).low))))
    assert energy(soft).position > 0.1  # A higher cutoff lets more into the low band.
    assert np.isfinite(energy(soft).slope)


# Refusals


@pytest.mark.parametrize("basis", ["dct", "haar", "random", "learned"])
def test_only_the_dft_splits_over_several_axes(basis):
    chosen = directions(8) if basis == "learned" else basis
    message = r"only the basis 'dft' splits over several axes, got axes \(1, 2\)\."
    with pytest.raises(ValueError, match=message):
        split_bands(jnp.ones((2, 8, 8, 3)), axes=(1, 2), basis=chosen)


@pytest.mark.parametrize(
    ("size", "cutoff", "block"), [(9, 0.5, 2), (6, 0.25, 4), (12, 0.1, 16), (8, 0.01, 128)]
)
def test_haar_refuses_a_size_that_its_blocks_do_not_divide(size, cutoff, block):
    message = f"'haar' at cutoff {cutoff} needs a size divisible by {block}, got {size}"
    with pytest.raises(ValueError, match=message):
        split_bands(jnp.ones((2, size)), basis="haar", cutoff=cutoff)


@pytest.mark.parametrize("basis", ["haar", "random"])
def test_a_soft_cutoff_needs_a_basis_of_frequencies(basis):
    message = f"a soft cutoff needs the basis 'dft' or 'dct', got '{basis}'"
    with pytest.raises(ValueError, match=message):
        split_bands(jnp.ones((2, 8)), basis=basis, cutoff=SoftCutoff(0.5, 10.0))


@pytest.mark.usefixtures("without_type_checks")
def test_an_unknown_basis_is_refused_with_the_known_ones():
    message = "basis must be 'dft', 'dct', 'haar' or 'random', got 'fourier'"
    with pytest.raises(ValueError, match=message):
        split_bands(jnp.ones((2, 8)), basis="fourier")


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("shape", [(7, 2), (8, 8), (8,)])
def test_directions_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"directions must have shape \[8, R\] with R below 8"):
        split_bands(jnp.ones((2, 8)), basis=jnp.ones(shape))


@pytest.mark.parametrize("basis", ["dct", "haar", "random", "learned"])
def test_in_any_basis_a_bad_cutoff_and_a_short_axis_are_refused(basis):
    if basis != "learned":
        with pytest.raises(ValueError, match=r"cutoff must lie inside \(0, 1\), got 1\.5"):
            split_bands(jnp.ones((2, 8)), basis=basis, cutoff=1.5)
    chosen = jnp.ones((2, 1)) if basis == "learned" else basis
    with pytest.raises(ValueError, match="needs at least 4 entries, got 2"):
        split_bands(jnp.ones((3, 2)), basis=chosen)
