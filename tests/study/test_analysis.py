"""Tests of comparisons and verdicts, on made-up cells."""

import pytest
from run_builders import DIRECTIONS, GOOD, put_cell, put_cells
from scipy import stats

from fdcmkd_jax.study.analysis import analyze, verdict
from fdcmkd_jax.study.spec import Cell
from fdcmkd_jax.study.tables import as_markdown


def test_gains_are_paired_with_the_baseline_and_corrected_over_the_arms(toy, tmp_path):
    put_cells(tmp_path, GOOD)
    results = analyze(toy, tmp_path).results[DIRECTIONS[0]]
    assert results["none"].over_baseline is None
    raw = [
        stats.ttest_rel(GOOD[arm], GOOD["none"]).pvalue
        for arm in ("fd_cmkd", "mismatched", "relabelled")
    ]
    arm = results["fd_cmkd"].over_baseline
    assert arm.comparison.gain.mean == pytest.approx(5.0)
    assert arm.comparison.p == pytest.approx(raw[0], rel=1e-6)
    assert raw[0] == sorted(raw)[1]
    assert arm.p == pytest.approx(max(3 * min(raw), 2 * raw[0]), rel=1e-6)


def test_an_arm_is_compared_with_its_best_control(toy, tmp_path):
    put_cells(tmp_path, GOOD)
    arm = analyze(toy, tmp_path).results[DIRECTIONS[0]]["fd_cmkd"].over_control
    assert arm.reference == "relabelled"
    assert arm.comparison.gain.mean == pytest.approx(0.0, abs=1e-9)
    expected = stats.ttest_rel(GOOD["fd_cmkd"], GOOD["relabelled"]).pvalue
    assert arm.p == pytest.approx(expected, rel=1e-6)  # One test: nothing to correct.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {},
            "better than no distillation (+5.0 ± 0.2); "
            "equivalent to its control relabelled within 1 point (+0.0 ± 0.4)",
        ),
        (
            {"relabelled": [60.0, 61.0, 62.2], "mismatched": [60.0, 61.0, 62.0]},
            "better than no distillation (+5.0 ± 0.2); "
            "better than its control relabelled (+24.9 ± 0.5)",
        ),
        (
            {"fd_cmkd": [70.0, 71.1, 71.9]},
            "worse than no distillation (-10.0 ± 0.2); "
            "worse than its control relabelled (-15.0 ± 0.4)",
        ),
        (
            {"fd_cmkd": [80.0, 88.0, 90.0]},
            "not distinguishable from no distillation (+5.0 ± 10.8); "
            "not distinguishable from its control relabelled (+0.0 ± 10.6)",
        ),
        (
            {"fd_cmkd": [80.5, 81.5, 82.51], "relabelled": [], "mismatched": [1.0]},
            "better than no distillation (+0.5 ± 0.0), though by less than 1 point",
        ),
    ],
    ids=["good", "better", "worse", "wide", "small"],
)
def test_verdicts_agree_with_the_intervals(values, expected, toy, tmp_path):
    put_cells(tmp_path, GOOD | values)
    analysis = analyze(toy, tmp_path)
    assert verdict(analysis, "fd_cmkd") == expected
    assert verdict(analysis, "none") == "the baseline"


def test_a_verdict_is_based_on_the_mean_of_the_directions(toy, tmp_path):
    for seed, gain in enumerate((1.0, 2.0, 3.0)):
        put_cell(tmp_path, Cell("none", seed), dict.fromkeys(DIRECTIONS, 0.8))
        both = {DIRECTIONS[0]: 0.8 + gain / 100, DIRECTIONS[1]: 0.8 + (4 - gain) / 100}
        put_cell(tmp_path, Cell("fd_cmkd", seed), both)
    analysis = analyze(toy, tmp_path)
    assert list(analysis.results) == [*DIRECTIONS, "mean"]
    assert analysis.results["mean"]["fd_cmkd"].over_baseline.comparison.gain.mean == pytest.approx(
        2
    )
    assert verdict(analysis, "fd_cmkd") == "better than no distillation (+2.0 ± 0.0)"


def test_an_unfinished_arm_is_compared_over_common_seeds_and_says_so(toy, tmp_path):
    put_cells(tmp_path, {"none": GOOD["none"], "fd_cmkd": [85.0, 86.0], "relabelled": [80.0]})
    analysis = analyze(toy, tmp_path)
    assert analysis.results[DIRECTIONS[0]]["fd_cmkd"].over_baseline.comparison.seeds == 2
    assert verdict(analysis, "fd_cmkd").endswith("; only 2 of 3 seeds finished")
    assert verdict(analysis, "relabelled") == "not judged: 1 of 3 seeds finished"
    assert verdict(analysis, "mismatched") == "not judged: 0 of 3 seeds finished"


def test_the_learning_rate_is_chosen_on_validation_whatever_the_test_split_says(change, tmp_path):
    tuned = change("seeds = 3", "seeds = 2\nlearning_rates = [0.03, 0.1, 0.3]")
    for rate, val, test, seeds in ((0.03, 0.7, 0.6, 2), (0.1, 0.6, 0.9, 2), (0.3, 0.9, 0.9, 1)):
        for seed in range(seeds):
            cell = Cell("none", seed, rate)
            put_cell(tmp_path, cell, {DIRECTIONS[0]: test}, val=val)
    analysis = analyze(tuned, tmp_path)
    assert analysis.rates["none"] == 0.03  # 0.3 is better, but not for every seed.
    assert analysis.results[DIRECTIONS[0]]["none"].test == {0: 60.0, 1: 60.0}


def test_a_run_selected_on_the_test_split_counts_by_its_last_step(toy, tmp_path):
    put_cells(tmp_path, {"none": GOOD["none"]})
    put_cells(
        tmp_path, {"fd_cmkd": GOOD["fd_cmkd"]}, test_rows=[(0.5, 0.9), (0.8, 0.95), (0.7, 0.1)]
    )
    analysis = analyze(toy, tmp_path)
    result = analysis.results[DIRECTIONS[0]]["fd_cmkd"]
    assert list(result.test.values()) == pytest.approx([75.0, 76.1, 76.9])
    assert list(result.optimistic.values()) == pytest.approx([95.0] * 3)
    assert analysis.results[DIRECTIONS[0]]["none"].optimistic == {}
    assert "best test epoch and head" in as_markdown(analysis)
