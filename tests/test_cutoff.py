"""Soft cutoffs, and the bins of a hard one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from split_cases import ATOL, assert_bands_are

from fdcmkd_jax.frequency import SoftCutoff, band_bins, split_bands


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


@pytest.mark.parametrize("cutoff", [0.0, 1.0, 1.5, -0.5, float("nan")])
def test_a_cutoff_outside_the_open_unit_interval_is_refused(cutoff):
    with pytest.raises(ValueError, match=rf"cutoff must lie inside \(0, 1\), got {cutoff}\."):
        split_bands(jnp.ones((2, 8)), cutoff=cutoff)


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


@pytest.mark.parametrize("basis", ["haar", "random"])
def test_a_soft_cutoff_needs_a_basis_of_frequencies(basis):
    message = f"a soft cutoff needs the basis 'dft' or 'dct', got '{basis}'"
    with pytest.raises(ValueError, match=message):
        split_bands(jnp.ones((2, 8)), basis=basis, cutoff=SoftCutoff(0.5, 10.0))
