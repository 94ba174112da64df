"""The numbers of a study as JSON, CSV and Markdown."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fdcmkd_jax.study.analysis import MEAN, Analysis, ArmComparison, ArmResult, points, verdict
from fdcmkd_jax.study.cell_config import cells
from fdcmkd_jax.study.scheduler import reason, status
from fdcmkd_jax.study.statistics import t_interval


class Row(NamedTuple):
    """A row of a results table, as text: percent, and points of difference."""

    arm: str
    label: str
    seeds: str
    test: str
    gain: str
    gain_p: str
    control: str
    best_control: str
    control_p: str
    last: str
    optimistic: str


def rows(analysis: Analysis, direction: str) -> list[Row]:
    """Makes the results table of one direction, one row per arm in the order of the study file."""
    table = []
    for name, result in analysis.results[direction].items():
        label = analysis.study.arms[name].label
        rate = analysis.rates[name]
        control = result.over_control
        table.append(
            Row(
                arm=name,
                label=label if rate is None else f"{label} (learning rate {rate:g})",
                seeds=str(len(result.test)),
                test=_interval(result.test),
                gain=_gain(result.over_baseline),
                gain_p=_p(result.over_baseline),
                control=_gain(control),
                best_control="" if control is None else control.reference,
                control_p=_p(control),
                last=_interval(result.last),
                optimistic=_interval(result.optimistic),
            )
        )
    return table


def teachers(analysis: Analysis) -> list[tuple[str, str]]:
    """Returns the modality and the test score of each teacher."""
    return [(modality, _interval(values)) for modality, values in analysis.teachers.items()]


def title_of(direction: str) -> str:
    """Returns the title of a direction."""
    return "mean of the directions" if direction == MEAN else direction.replace("->", " → ")


def as_markdown(analysis: Analysis) -> str:
    """Formats verdicts and tables as Markdown."""
    study = analysis.study
    lines = [f"# {study.title}", "", study.question, ""]
    for name, arm in study.arms.items():
        lines.append(f"- **{arm.label}** (`{name}`): {verdict(analysis, name)}.")
    for direction in analysis.results:
        body = rows(analysis, direction)
        # Columns that are empty in every row are left out.
        fields = [
            field
            for field in HEADINGS
            if field == "label" or any(getattr(row, field) for row in body)
        ]
        lines += ["", f"## {title_of(direction)}", ""]
        lines += _table(
            [HEADINGS[field] for field in fields],
            [[getattr(row, field) for field in fields] for row in body],
        )
    if analysis.teachers:
        lines += ["", "## Teachers", "", *_table(["modality", "test %"], teachers(analysis))]
    for note in notes(analysis):
        lines += ["", note]
    if analysis.failures:
        lines += ["", "## Failed cells", ""]
        lines += [f"- {cell}: {why}" for cell, why in analysis.failures.items()]
    return "\n".join(lines) + "\n"


HEADINGS = {
    "label": "arm",
    "seeds": "seeds",
    "test": "test %",
    "gain": "gain",
    "gain_p": "p",
    "control": "over best control",
    "best_control": "best control",
    "control_p": "p over control",
    "last": "last step %",
    "optimistic": "best test epoch and head % (optimistic)",
}


def notes(analysis: Analysis) -> list[str]:
    """Returns paragraphs that explain the tables."""
    study = analysis.study
    paragraphs = [
        f"Test %: test {analysis.metric} of the checkpoint selected on validation, mean and 95 % t "
        f"interval over seeds. Gain: paired difference from {study.arms[study.baseline].label}, in "
        "points. p values are corrected over the arms by Holm's method; intervals are not "
        "corrected. Verdicts are based on the mean of the directions and on an equivalence margin "
        f"of {points(study.margin)}, fixed before the study was run.",
    ]
    if study.learning_rates:
        rates = ", ".join(f"{rate:g}" for rate in study.learning_rates)
        paragraphs.append(
            f"Each arm was trained at the learning rates {rates} and keeps the rate that is best "
            "on validation."
        )
    if analysis.optimistic:
        paragraphs.append(
            'Arms with a value under "best test epoch and head" were selected on the test split, '
            f"as in the public code; their test {analysis.metric} in the other columns is that of "
            "the last step."
        )
    return paragraphs


def as_csv(analysis: Analysis, workdir: Path) -> str:
    """Formats the kept cells as CSV: one row per arm, direction and seed, finished or not."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ("val", "test", "last", "optimistic", "step")
    writer.writerow(("arm", "label", "direction", "seed", "learning_rate", *columns, "status"))
    for cell in cells(analysis.study):
        if analysis.rates[cell.arm] != cell.learning_rate:
            continue
        scores = analysis.scores[cell.arm].get(cell.seed, {})
        rate = "" if cell.learning_rate is None else f"{cell.learning_rate:g}"
        for direction in analysis.directions or ("",):
            score = scores.get(direction)
            values = ["" if score is None else _plain(getattr(score, name)) for name in columns]
            label = analysis.study.arms[cell.arm].label
            word = status(cell, workdir)
            writer.writerow((cell.arm, label, direction, cell.seed, rate, *values, word))
    return buffer.getvalue()


def as_json(analysis: Analysis, workdir: Path) -> dict[str, Any]:
    """Returns the study, all its cells (at all learning rates) and all statistics as plain data."""
    study = analysis.study
    return {
        "study": {
            "title": study.title,
            "question": study.question,
            "seeds": study.seeds,
            **study.fixed_settings(),
            "labels": {name: arm.label for name, arm in study.arms.items()},
        },
        "directions": list(analysis.directions),
        "cells": [
            {
                **dataclasses.asdict(cell),
                "folder": cell.folder,
                "status": status(cell, workdir),
                "reason": reason(cell, workdir),
            }
            for cell in cells(study)
        ],
        "learning_rates": dict(analysis.rates),
        "scores": {
            arm: {
                seed: {name: dataclasses.asdict(score) for name, score in scores.items()}
                for seed, scores in by_seed.items()
            }
            for arm, by_seed in analysis.scores.items()
        },
        "teachers": {name: dict(values) for name, values in analysis.teachers.items()},
        "statistics": {
            direction: {arm: _statistics(result) for arm, result in by_arm.items()}
            for direction, by_arm in analysis.results.items()
        },
        "verdicts": {arm: verdict(analysis, arm) for arm in study.arms},
    }


def _statistics(result: ArmResult) -> dict[str, Any]:
    intervals = {}
    for field in ("test", "last", "optimistic"):
        values = list(getattr(result, field).values())
        intervals[field] = t_interval(values)._asdict() if len(values) > 1 else None
    return {
        **intervals,
        "against_baseline": _comparison(result.over_baseline),
        "against_best_control": _comparison(result.over_control),
    }


def _comparison(arm: ArmComparison | None) -> dict[str, Any] | None:
    if arm is None:
        return None
    return {
        "arm": arm.reference,
        "seeds": arm.comparison.seeds,
        "gain": arm.comparison.gain.mean,
        "half_width": arm.comparison.gain.half_width,
        "p": arm.comparison.p,
        "p_corrected": arm.p,
        "p_equivalent": arm.comparison.p_equivalent,
        "p_equivalent_corrected": arm.p_equivalent,
    }


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def _interval(by_seed: Mapping[int, float]) -> str:
    values = list(by_seed.values())
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else ""
    return str(t_interval(values))


def _gain(arm: ArmComparison | None) -> str:
    if arm is None:
        return ""
    return "{:+.1f} ± {:.1f}".format(*arm.comparison.gain)


def _p(arm: ArmComparison | None) -> str:
    if arm is None:
        return ""
    return "< 0.001" if arm.p < 0.001 else f"{arm.p:.3f}"


def _plain(value: int | float | None) -> str:
    return "" if value is None else f"{value:.10g}"
