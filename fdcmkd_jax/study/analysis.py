"""From finished cells to what they say: intervals, comparisons, one verdict an arm."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fdcmkd_jax import plan, statistics
from fdcmkd_jax.log import read_json, read_rows
from fdcmkd_jax.statistics import Comparison
from fdcmkd_jax.study.spec import Cell, Study, cells, teacher_cell
from fdcmkd_jax.study.work import reason, status

LEVEL = 0.05
"""Of every test; intervals cover 1 less this."""

MEAN = "mean"
"""The mean over the directions of a seed, on which verdicts rest."""


@dataclass(frozen=True)
class Score:
    """What one student of one cell reached, accuracies in percent.

    Attributes:
        val: Of the selected checkpoint.
        test: Of the checkpoint that validation selected; of the last step where the run selected
            on the test split.
        last: Test accuracy of the last step.
        step: The selected one.
        optimistic: The best test accuracy of any epoch and head, as the public code selects; None
            where the log has no test rows.
    """

    val: float
    test: float
    last: float
    step: int
    optimistic: float | None


Scores = Mapping[int, Mapping[str, Score]]
"""By seed, then by direction."""


@dataclass(frozen=True)
class Against:
    """An arm compared with another over their common seeds.

    Attributes:
        other: The other arm.
        comparison: The paired difference, in points.
        p: Of the difference, after Holm's correction over the arms compared.
        p_equivalent: Of equivalence within the margin, likewise.
    """

    other: str
    comparison: Comparison
    p: float
    p_equivalent: float


@dataclass(frozen=True)
class Finding:
    """What an arm's seeds say in one direction, or in the mean of all.

    Attributes:
        test: Test accuracy by seed, percent; see `Score`.
        last: Of the last step, by seed.
        optimistic: Of the public code's selection, for the seeds whose log has it.
        baseline: Against the baseline; None for itself, and below two common seeds.
        control: Against the control with the highest mean; None without a finished one.
    """

    test: Mapping[int, float]
    last: Mapping[int, float]
    optimistic: Mapping[int, float]
    baseline: Against | None = None
    control: Against | None = None


@dataclass(frozen=True)
class Analysis:
    """A study's numbers.

    Attributes:
        study: The study.
        directions: As the runs name them.
        chosen: The learning rate each arm keeps; None where none is tuned.
        scores: Of the kept cells, by arm.
        findings: By direction and `MEAN`, then by arm.
        teachers: Test accuracy of the teachers by modality and seed, percent.
        failures: Cells that failed, and why.
    """

    study: Study
    directions: tuple[str, ...]
    chosen: Mapping[str, float | None]
    scores: Mapping[str, Scores]
    findings: Mapping[str, Mapping[str, Finding]]
    teachers: Mapping[str, Mapping[int, float]]
    failures: Mapping[Cell, str]

    @property
    def compared(self) -> bool:
        """Whether any arm has two seeds in common with the baseline."""
        return any(each.baseline for found in self.findings.values() for each in found.values())

    @property
    def optimistic(self) -> bool:
        """Whether any arm was selected on the test split, as the public code does."""
        return any(each.optimistic for found in self.findings.values() for each in found.values())


def analyse(study: Study, workdir: Path) -> Analysis:
    """Reads every finished cell and compares the arms.

    Args:
        study: The study.
        workdir: Its folder; cells may be missing.

    Raises:
        OSError: If a finished cell lacks a file that every run leaves.
    """
    everything = cells(study)
    found = {cell: _read(cell, workdir) for cell in everything if status(cell, workdir) == "done"}
    directions = tuple(dict.fromkeys(name for scores in found.values() for name in scores))
    chosen = {arm: _choose_rate(study, arm, found) for arm in study.arms}
    scores = {
        arm: {
            cell.seed: found[cell]
            for cell in found
            if (cell.arm, cell.learning_rate) == (arm, rate)
        }
        for arm, rate in chosen.items()
    }
    shown = (*directions, MEAN) if len(directions) > 1 else directions
    failures = {
        cell: reason(cell, workdir) for cell in everything if status(cell, workdir) == "failed"
    }
    return Analysis(
        study=study,
        directions=directions,
        chosen=chosen,
        scores=scores,
        findings={direction: _findings(study, scores, direction) for direction in shown},
        teachers=_teachers(study, workdir),
        failures=failures,
    )


def verdict(analysis: Analysis, arm: str) -> str:
    """One line on an arm: against no distillation (the baseline), then against its best control.

    It rests on the mean over the directions, corrected for the number of arms.
    """
    study = analysis.study
    direction = MEAN if len(analysis.directions) > 1 else "".join(analysis.directions)
    finding = analysis.findings.get(direction, {}).get(arm)
    seeds = len(finding.test) if finding else 0
    if finding is None or seeds < 2:
        return f"not judged: {seeds} of {study.seeds} seeds finished"
    if arm == study.baseline:
        return "the baseline"
    parts = [
        _words(study, against, kind)
        for against, kind in ((finding.baseline, ""), (finding.control, "its control "))
        if against is not None
    ]
    if seeds < study.seeds:
        parts.append(f"only {seeds} of {study.seeds} seeds finished")
    return "; ".join(parts) or "not judged: fewer than two seeds in common with the baseline"


def points(number: float) -> str:
    """A number of percentage points with its unit.

    Example:
        >>> points(1.0), points(0.5)
        ('1 point', '0.5 points')
    """
    return f"{number:g} point{'' if number == 1 else 's'}"


def _words(study: Study, against: Against, kind: str) -> str:
    other = f"{kind}{study.arms[against.other].label}"
    mean, half_width = against.comparison.gain
    amount = f"({mean:+.1f} ± {half_width:.1f})"
    margin = points(study.margin)
    close = against.p_equivalent < LEVEL
    if against.p < LEVEL:
        though = f", though by less than {margin}" if close else ""
        return f"{'better' if mean > 0 else 'worse'} than {other} {amount}{though}"
    if close:
        return f"equivalent to {other} within {margin} {amount}"
    return f"not distinguishable from {other} {amount}"


def _read(cell: Cell, workdir: Path) -> dict[str, Score]:
    """A finished cell's scores by direction."""
    folder = workdir / cell.folder
    results = read_json(folder / "results.json")
    config = read_json(folder / "config.json")
    by_test = config["evaluate"]["select_split"] == "test"
    scores = {}
    for direction, entry in results["students"].items():
        rows = read_rows(folder / plan.Direction.parse(direction).folder / "metrics.jsonl")
        curve = [
            head["accuracy"]
            for row in rows
            if row["split"] == "test"
            for head in (row, *row["heads"].values())
        ]
        last = entry["last"]["test"]["accuracy"]
        scores[direction] = Score(
            val=100 * entry["val"]["accuracy"],
            test=100 * (last if by_test else entry["test"]["accuracy"]),
            last=100 * last,
            step=entry["selected_step"],
            optimistic=100 * max(curve) if curve else None,
        )
    return scores


def _choose_rate(study: Study, arm: str, found: Mapping[Cell, Mapping[str, Score]]) -> float | None:
    """The learning rate with the highest validation accuracy, of those that most seeds finished."""
    if not study.learning_rates:
        return None

    def quality(rate: float) -> tuple[int, float]:
        runs = [found[cell] for cell in found if (cell.arm, cell.learning_rate) == (arm, rate)]
        vals = [score.val for run in runs for score in run.values()]
        return len(runs), float(np.mean(vals)) if vals else 0.0

    return max(study.learning_rates, key=quality)


def _findings(study: Study, scores: Mapping[str, Scores], direction: str) -> dict[str, Finding]:
    """Each arm's finding in one direction, compared and corrected."""
    findings = {arm: _finding(by_seed, direction) for arm, by_seed in scores.items()}
    over_baseline = {
        arm: _against(study, findings, arm, study.baseline)
        for arm in findings
        if arm != study.baseline
    }
    over_control = {}
    for arm in findings:
        controls = [name for name in study.arms[arm].controls if len(findings[name].test) > 1]
        if controls:
            best = max(controls, key=lambda name: np.mean(list(findings[name].test.values())))
            over_control[arm] = _against(study, findings, arm, best)
    baseline, control = _corrected(over_baseline), _corrected(over_control)
    return {
        arm: replace(finding, baseline=baseline.get(arm), control=control.get(arm))
        for arm, finding in findings.items()
    }


def _finding(by_seed: Scores, direction: str) -> Finding:
    def values(field: str) -> dict[int, float]:
        found = {}
        for seed, scores in sorted(by_seed.items()):
            which = list(scores.values()) if direction == MEAN else [scores[direction]]
            numbers = [getattr(score, field) for score in which]
            if None not in numbers:
                found[seed] = float(np.mean(numbers))
        return found

    return Finding(values("test"), values("last"), values("optimistic"))


def _against(study: Study, findings: Mapping[str, Finding], arm: str, other: str) -> Against | None:
    """The uncorrected comparison; None below two common seeds."""
    one, two = findings[arm].test, findings[other].test
    seeds = sorted(one.keys() & two.keys())
    if len(seeds) < 2:
        return None
    found = statistics.compare(
        [one[seed] for seed in seeds], [two[seed] for seed in seeds], margin=study.margin
    )
    return Against(other, found, found.p, found.p_equivalent)


def _corrected(family: Mapping[str, Against | None]) -> dict[str, Against]:
    present = {arm: against for arm, against in family.items() if against is not None}
    p = statistics.holm([against.p for against in present.values()])
    p_equivalent = statistics.holm([against.p_equivalent for against in present.values()])
    return {
        arm: replace(against, p=p[n], p_equivalent=p_equivalent[n])
        for n, (arm, against) in enumerate(present.items())
    }


def _teachers(study: Study, workdir: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for seed in range(study.seeds):
        path = workdir / teacher_cell(study, seed).folder / "results.json"
        if path.is_file():
            for modality, entry in read_json(path)["teachers"].items():
                found.setdefault(modality, {})[seed] = 100 * entry["test"]["accuracy"]
    return found
