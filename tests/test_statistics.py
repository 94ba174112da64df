"""Comparisons of arms over seeds, beside SciPy, printed examples and laws."""

import numpy as np
import pytest
from scipy import stats

from fdcmkd_jax import metrics, statistics


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
    found = statistics.compare(*pairs, margin=margin).p_equivalent
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_that_of_the_differences():
    found = statistics.compare([3.0, 5.0, 7.0], [1.0, 1.0, 1.0], margin=1.0)
    assert found.gain == metrics.t_interval([2.0, 4.0, 6.0])
    assert found.seeds == 3


def test_the_p_value_is_below_5_percent_exactly_where_the_interval_excludes_zero(rng):
    seen = set()
    for shift in np.linspace(0, 3, 31):
        found = statistics.compare(
            rng.normal(shift, 1, 5).tolist(), rng.normal(0, 1, 5).tolist(), margin=1.0
        )
        excludes = abs(found.gain.mean) > found.gain.half_width
        assert (found.p < 0.05) == excludes
        seen.add(excludes)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("difference", "p", "p_equivalent"), [(0.0, 1.0, 0.0), (2.0, 0.0, 1.0), (1.0, 0.0, 0.5)]
)
def test_seeds_that_differ_by_the_same_amount_give_no_nan(difference, p, p_equivalent):
    reference = [1.0, 2.0, 4.0]
    values = [value + difference for value in reference]
    found = statistics.compare(values, reference, margin=1.0)
    assert (found.p, found.p_equivalent) == (p, p_equivalent)
    assert found.gain == (difference, 0.0)


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_never_falls():
    # Sorted: 0.005 * 4, 0.01 * 3, then 0.03 * 2 and 0.04 * 1 raised to its predecessor's 0.06.
    found = statistics.holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02], rtol=1e-12)


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
def test_what_cannot_be_compared_is_refused(values, reference, margin, message):
    with pytest.raises(ValueError, match=message):
        statistics.compare(values, reference, margin=margin)
