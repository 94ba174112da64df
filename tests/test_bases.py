"""The split in other bases than the DFT."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from split_cases import ATOL, CUTOFFS, assert_bands_are

from fdcmkd_jax.frequency import band_rank, split_bands


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
