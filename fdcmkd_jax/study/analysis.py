"""Compares the arms of a study: intervals, paired tests, one verdict per arm."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fdcmkd_jax.study import statistics
from fdcmkd_jax.study.cell_config import cells
from fdcmkd_jax.study.scheduler import reason, status
from fdcmkd_jax.study.scores import (
    Score,
    Scores,
    choose_rate,
    metric_label,
    read_scores,
    teacher_scores,
)
from fdcmkd_jax.study.spec import Cell, Study
from fdcmkd_jax.study.statistics import Comparison

LEVEL = 0.05
"""Significance level of every test; intervals have confidence 1 - LEVEL."""

MEAN = "mean"
"""Name of the mean over the directions of a seed, on which verdicts are based."""


@dataclass(frozen=True)
class ArmComparison:
    """Comparison of an arm with another over their common seeds.

    Attributes:
        reference: The other arm.
        comparison: The paired difference, in points.
        p: p value of the difference, after Holm's correction over the compared arms.
        p_equivalent: p value of equivalence within the margin, with the same correction.
    """

    reference: str
    comparison: Comparison
    p: float
    p_equivalent: float


@dataclass(frozen=True)
class ArmResult:
    """Results of an arm in one direction, or in the mean of all directions.

    Attributes:
        test: The primary metric on the test split in percent, by seed; see `Score`.
        last: The same of the last step, by seed.
        optimistic: The same under the public code's selection, for the seeds that logged it.
        over_baseline: Comparison with the baseline; None for the baseline itself and below two
            common seeds.
        over_control: Comparison with the control that has the highest mean; None if no control has
            two finished seeds.
    """

    test: Mapping[int, float]
    last: Mapping[int, float]
    optimistic: Mapping[int, float]
    over_baseline: ArmComparison | None = None
    over_control: ArmComparison | None = None


@dataclass(frozen=True)
class Analysis:
    """All numbers of a study.

    Attributes:
        study: The study.
        metric: The name of the primary metric.
        directions: Names of the directions, as in the runs.
        rates: The learning rate that each arm keeps; None if the study tunes no rate.
        scores: Scores of the kept cells, by arm.
        results: Results by direction (and `MEAN`), then by arm.
        teachers: The primary metric of the teachers on the test split in percent, by modality and
            seed.
        failures: Reasons of failure, by failed cell.
    """

    study: Study
    metric: str
    directions: tuple[str, ...]
    rates: Mapping[str, float | None]
    scores: Mapping[str, Scores]
    results: Mapping[str, Mapping[str, ArmResult]]
    teachers: Mapping[str, Mapping[int, float]]
    failures: Mapping[Cell, str]

    @property
    def all_results(self) -> list[ArmResult]:
        """The results of all arms in all directions."""
        return [result for by_arm in self.results.values() for result in by_arm.values()]

    @property
    def compared(self) -> bool:
        """Whether any arm has two seeds in common with the baseline."""
        return any(result.over_baseline for result in self.all_results)

    @property
    def optimistic(self) -> bool:
        """Whether any arm was selected on the test split, as the public code does."""
        return any(result.optimistic for result in self.all_results)


def analyze(study: Study, workdir: Path) -> Analysis:
    """Reads every finished cell and compares the arms.

    Args:
        study: The study.
        workdir: The study's folder; cells may be missing.

    Returns:
        All numbers of the study.

    Raises:
        OSError: If a finished cell lacks a file that every run writes.
    """
    statuses = {cell: status(cell, workdir) for cell in cells(study)}
    by_cell = {cell: read_scores(cell, workdir) for cell in statuses if statuses[cell] == "done"}
    directions = tuple(dict.fromkeys(name for scores in by_cell.values() for name in scores))
    rates = {arm: choose_rate(study, arm, by_cell) for arm in study.arms}
    scores = {arm: _kept(by_cell, arm, rate) for arm, rate in rates.items()}
    columns = (*directions, MEAN) if len(directions) > 1 else directions
    return Analysis(
        study=study,
        metric=metric_label(by_cell, workdir),
        directions=directions,
        rates=rates,
        scores=scores,
        results={direction: _compare_arms(study, scores, direction) for direction in columns},
        teachers=teacher_scores(study, workdir),
        failures={cell: reason(cell, workdir) for cell in statuses if statuses[cell] == "failed"},
    )


def _kept(
    by_cell: Mapping[Cell, Mapping[str, Score]], arm: str, rate: float | None
) -> dict[int, Mapping[str, Score]]:
    """Returns the scores of an arm at one learning rate, by seed."""
    return {
        cell.seed: scores
        for cell, scores in by_cell.items()
        if (cell.arm, cell.learning_rate) == (arm, rate)
    }


def _compare_arms(
    study: Study, scores: Mapping[str, Scores], direction: str
) -> dict[str, ArmResult]:
    """Compares the arms in one direction, with corrected p values."""
    results = {arm: _arm_result(by_seed, direction) for arm, by_seed in scores.items()}
    over_baseline = {
        arm: _compare(study, results, arm, study.baseline)
        for arm in results
        if arm != study.baseline
    }
    over_control = {}
    for arm in results:
        controls = [name for name in study.arms[arm].controls if len(results[name].test) > 1]
        if controls:
            best = max(controls, key=lambda name: np.mean(list(results[name].test.values())))
            over_control[arm] = _compare(study, results, arm, best)
    baseline, control = _correct(over_baseline), _correct(over_control)
    return {
        arm: replace(result, over_baseline=baseline.get(arm), over_control=control.get(arm))
        for arm, result in results.items()
    }


def _arm_result(by_seed: Scores, direction: str) -> ArmResult:
    """Collects the scores of an arm in one direction, or their mean over the directions."""

    def values(field: str) -> dict[int, float]:
        means = {}
        for seed, scores in sorted(by_seed.items()):
            selected = list(scores.values()) if direction == MEAN else [scores[direction]]
            numbers = [getattr(score, field) for score in selected]
            if None not in numbers:
                means[seed] = float(np.mean(numbers))
        return means

    return ArmResult(values("test"), values("last"), values("optimistic"))


def _compare(
    study: Study, results: Mapping[str, ArmResult], arm: str, reference: str
) -> ArmComparison | None:
    """Compares two arms without correction; None if they have fewer than two common seeds."""
    values, reference_values = results[arm].test, results[reference].test
    seeds = sorted(values.keys() & reference_values.keys())
    if len(seeds) < 2:
        return None
    comparison = statistics.compare(
        [values[seed] for seed in seeds],
        [reference_values[seed] for seed in seeds],
        margin=study.margin,
    )
    return ArmComparison(reference, comparison, comparison.p, comparison.p_equivalent)


def _correct(family: Mapping[str, ArmComparison | None]) -> dict[str, ArmComparison]:
    """Corrects the p values of a family of comparisons; drops those that are None."""
    present = {arm: comparison for arm, comparison in family.items() if comparison is not None}
    p = statistics.holm([comparison.p for comparison in present.values()])
    p_equivalent = statistics.holm([comparison.p_equivalent for comparison in present.values()])
    return {
        arm: replace(comparison, p=p[n], p_equivalent=p_equivalent[n])
        for n, (arm, comparison) in enumerate(present.items())
    }


def verdict(analysis: Analysis, arm: str) -> str:
    """Summarizes an arm in one line: compared with the baseline, then with its best control.

    The verdict is based on the mean over the directions; its p values are corrected for the number
    of arms.
    """
    study = analysis.study
    direction = MEAN if len(analysis.directions) > 1 else "".join(analysis.directions)
    result = analysis.results.get(direction, {}).get(arm)
    seeds = len(result.test) if result else 0
    if result is None or seeds < 2:
        return f"not judged: {seeds} of {study.seeds} seeds finished"
    if arm == study.baseline:
        return "the baseline"
    parts = [
        _sentence(study, comparison, role)
        for comparison, role in ((result.over_baseline, ""), (result.over_control, "its control "))
        if comparison is not None
    ]
    if seeds < study.seeds:
        parts.append(f"only {seeds} of {study.seeds} seeds finished")
    return "; ".join(parts) or "not judged: fewer than two seeds in common with the baseline"


def _sentence(study: Study, arm: ArmComparison, role: str) -> str:
    """Puts a comparison into words; ``role`` stands before the label of the reference arm."""
    reference = f"{role}{study.arms[arm.reference].label}"
    mean, half_width = arm.comparison.gain
    amount = f"({mean:+.1f} ± {half_width:.1f})"
    margin = points(study.margin)
    equivalent = arm.p_equivalent < LEVEL
    if arm.p < LEVEL:
        though = f", though by less than {margin}" if equivalent else ""
        return f"{'better' if mean > 0 else 'worse'} than {reference} {amount}{though}"
    if equivalent:
        return f"equivalent to {reference} within {margin} {amount}"
    return f"not distinguishable from {reference} {amount}"


def points(number: float) -> str:
    """Formats a number of percentage points with its unit.

    Examples:
        >>> points(1.0), points(0.5)
        ('1 point', '0.5 points')
    """
    return f"{number:g} point{'' if number == 1 else 's'}"
