"""Tests of intervals and comparisons over seeds, against SciPy, worked examples and laws."""

import numpy as np
import pytest
from scipy import stats

from fdcmkd_jax.study import statistics


@pytest.fixture
def pairs(rng):
    return rng.normal(80.5, 1.0, 6).tolist(), rng.normal(80.0, 1.0, 6).tolist()


def test_the_p_value_is_the_paired_t_tests(pairs):
    values, reference = pairs
    expected = stats.ttest_rel(values, reference).pvalue
    assert statistics.compare(values, reference, margin=1.0).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("margin", [0.1, 1.0, 5.0])
def test_equivalence_is_the_larger_of_two_one_sided_tests(pairs, margin):
    differences = np.subtract(*pairs)
    expected = max(
        stats.ttest_1samp(differences, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(differences, margin, alternative="less").pvalue,
    )
    p_equivalent = statistics.compare(*pairs, margin=margin).p_equivalent
    assert p_equivalent == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_the_t_interval_of_the_differences():
    comparison = statistics.compare([3.0, 5.0, 7.0], [1.0, 1.0, 1.0], margin=1.0)
    assert comparison.gain == statistics.t_interval([2.0, 4.0, 6.0])
    assert comparison.seeds == 3


def test_the_p_value_is_below_5_percent_exactly_where_the_interval_excludes_zero(rng):
    outcomes = set()
    for shift in np.linspace(0, 3, 31):
        comparison = statistics.compare(
            rng.normal(shift, 1, 5).tolist(), rng.normal(0, 1, 5).tolist(), margin=1.0
        )
        excludes = abs(comparison.gain.mean) > comparison.gain.half_width
        assert (comparison.p < 0.05) == excludes
        outcomes.add(excludes)
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    ("difference", "p", "p_equivalent"), [(0.0, 1.0, 0.0), (2.0, 0.0, 1.0), (1.0, 0.0, 0.5)]
)
def test_seeds_that_differ_by_the_same_amount_give_no_nan(difference, p, p_equivalent):
    reference = [1.0, 2.0, 4.0]
    values = [value + difference for value in reference]
    comparison = statistics.compare(values, reference, margin=1.0)
    assert (comparison.p, comparison.p_equivalent) == (p, p_equivalent)
    assert comparison.gain == (difference, 0.0)


def test_holms_factors_fall_by_one_and_adjusted_values_never_fall():
    # Sorted: 0.005 * 4, 0.01 * 3, then 0.03 * 2 and 0.04 * 1 raised to its predecessor's 0.06.
    adjusted = statistics.holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02], rtol=1e-12)


def test_holm_keeps_a_single_p_value_and_stops_at_one():
    assert statistics.holm([0.04]) == [0.04]
    assert statistics.holm([0.6, 0.9]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize(
    ("values", "reference", "margin", "message"),
    [
        ([1.0, 2.0], [1.0], 1.0, "pairs need equal lengths, got 2 and 1"),
        ([1.0], [1.0], 1.0, "needs at least two runs, got 1"),
        ([1.0, 2.0], [1.0, 2.0], 0.0, "margin must be positive, got 0"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(values, reference, margin, message):
    with pytest.raises(ValueError, match=message):
        statistics.compare(values, reference, margin=margin)


@pytest.mark.parametrize(
    ("values", "confidence", "mean", "half_width"),
    [
        ([80.0, 82.0, 84.0], 0.95, 82.0, 4.302653 * 2 / 3**0.5),
        ([80.0, 82.0, 84.0], 0.90, 82.0, 2.919986 * 2 / 3**0.5),
        ([0.0, 2.0], 0.95, 1.0, 12.706205),  # Deviation sqrt(2), divided by sqrt(2 runs).
        ([1.0, 1.0, 5.0, 5.0], 0.99, 3.0, 5.840909 * (16 / 3) ** 0.5 / 2),
        ([7.0, 7.0, 7.0], 0.95, 7.0, 0.0),
    ],
)
def test_an_interval_is_students_t_around_the_mean(values, confidence, mean, half_width):
    actual = statistics.t_interval(values, confidence=confidence)
    assert actual.mean == pytest.approx(mean)
    assert actual.half_width == pytest.approx(half_width, rel=1e-6)


def test_an_interval_is_written_as_mean_and_half_width():
    assert str(statistics.Interval(81.25, 3.04)) == "81.2 ± 3.0"


@pytest.mark.parametrize("values", [[], [80.0]])
def test_an_interval_of_fewer_than_two_runs_is_refused(values):
    with pytest.raises(ValueError, match=f"needs at least two runs, got {len(values)}"):
        statistics.t_interval(values)
