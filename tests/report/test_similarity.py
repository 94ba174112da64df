"""Tests of the band similarity of two models' features."""

import numpy as np
import pytest

from fdcmkd_jax.report import similarity

# With D = 4 and cutoff 1/2, bin 1 is low and bin 2 is high.
LOW = np.array([[1.0, 0.0, -1.0, 0.0]], np.float32)
HIGH = np.array([[1.0, -1.0, 1.0, -1.0]], np.float32)
MEAN = np.ones((1, 4), np.float32)


def true_pairs(first, second):
    result = similarity.band_similarity(first, second)
    return [result[band]["true pairs"] for band in similarity.BANDS]


def test_identical_features_agree_in_every_band():
    x = np.random.RandomState(0).randn(20, 16).astype(np.float32)
    np.testing.assert_allclose(true_pairs(x, x), 1, rtol=1e-6)


def test_bands_are_compared_apart():
    # raw: (2 - 4) / 6; the low bands are equal, the high ones opposite, the mean is zero.
    actual = true_pairs(LOW + HIGH, LOW - HIGH)
    np.testing.assert_allclose(actual, [-1 / 3, 1, 1, -1], atol=1e-6)


def test_the_mean_counts_only_with_dc():
    # raw and low with DC: (4 - 2) / 6; without it the low bands are opposite; no high band.
    actual = true_pairs(MEAN + LOW, MEAN - LOW)
    np.testing.assert_allclose(actual, [1 / 3, 1 / 3, -1, 0], atol=1e-6)


def test_low_and_high_are_orthogonal():
    np.testing.assert_allclose(true_pairs(LOW, HIGH), 0, atol=1e-6)


def test_what_examples_share_survives_a_mismatch():
    shared = np.tile(np.random.RandomState(0).randn(1, 8), (5, 1)).astype(np.float32)
    result = similarity.band_similarity(shared, shared)
    np.testing.assert_allclose(result["high"]["mismatched pairs"], 1, rtol=1e-6)
    assert result["high"]["channels permuted"] < 0.99


def test_the_mean_survives_a_permutation_of_channels():
    constant = np.array([[1.0] * 8, [2.0] * 8], np.float32)
    row = similarity.band_similarity(constant, constant)["low with DC"]
    np.testing.assert_allclose(list(row.values()), 1, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_a_mismatch_is_a_permutation_without_fixed_points(count):
    partner = similarity.mismatch(count)
    assert sorted(partner) == list(range(count))
    assert not np.any(partner == np.arange(count))


def test_the_same_seed_gives_the_same_similarity():
    x, y = np.random.RandomState(0).randn(2, 10, 8).astype(np.float32)
    assert similarity.band_similarity(x, y) == similarity.band_similarity(x, y)


@pytest.mark.usefixtures("without_type_checks")
def test_features_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(1, 4\) and \(1, 8\)"):
        similarity.band_similarity(np.ones((1, 4)), np.ones((1, 8)))
