"""A study's numbers as JSON, CSV and Markdown."""

import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fdcmkd_jax.metrics import t_interval
from fdcmkd_jax.study.analysis import MEAN, Against, Analysis, points, verdict
from fdcmkd_jax.study.spec import cells
from fdcmkd_jax.study.work import reason, status


class Row(NamedTuple):
    """A line of a results table, as text: percent, and points of difference."""

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
    """The results of one direction, an arm a row, in the order of the study file."""
    result = []
    for name, finding in analysis.findings[direction].items():
        label = analysis.study.arms[name].label
        rate = analysis.chosen[name]
        control = finding.control
        result.append(
            Row(
                arm=name,
                label=label if rate is None else f"{label} (learning rate {rate:g})",
                seeds=str(len(finding.test)),
                test=_interval(finding.test),
                gain=_gain(finding.baseline),
                gain_p=_p(finding.baseline),
                control=_gain(control),
                best_control="" if control is None else control.other,
                control_p=_p(control),
                last=_interval(finding.last),
                optimistic=_interval(finding.optimistic),
            )
        )
    return result


def teachers(analysis: Analysis) -> list[tuple[str, str]]:
    """Modality and test accuracy of each teacher."""
    return [(modality, _interval(values)) for modality, values in analysis.teachers.items()]


def title_of(direction: str) -> str:
    """A direction as people read it."""
    return "mean of the directions" if direction == MEAN else direction.replace("->", " → ")


def as_markdown(analysis: Analysis) -> str:
    """The tables with the verdicts, to be read as text or pasted."""
    study = analysis.study
    lines = [f"# {study.title}", "", study.question, ""]
    for name, arm in study.arms.items():
        lines.append(f"- **{arm.label}** (`{name}`): {verdict(analysis, name)}.")
    for direction in analysis.findings:
        found = rows(analysis, direction)
        # A column that says nothing in any row is left out.
        fields = [
            field for field in HEADINGS if field == "label" or any(getattr(r, field) for r in found)
        ]
        lines += ["", f"## {title_of(direction)}", ""]
        lines += _table(
            [HEADINGS[field] for field in fields],
            [[getattr(row, field) for field in fields] for row in found],
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
    """How to read the tables, a paragraph a line."""
    study = analysis.study
    result = [
        "Test accuracy of the checkpoint that validation selected, mean and 95 % t interval over "
        f"seeds. Gain: paired difference to {study.arms[study.baseline].label}, in points; p by "
        "Holm's correction over the arms, intervals uncorrected. Verdicts rest on the mean of the "
        f"directions and on an equivalence margin of {points(study.margin)}, stated beforehand.",
    ]
    if study.learning_rates:
        rates = ", ".join(f"{rate:g}" for rate in study.learning_rates)
        result.append(
            f"Each arm was trained at learning rates {rates} and keeps the best on validation."
        )
    if analysis.optimistic:
        result.append(
            "Arms with a best test epoch and head selected on the test split, as the public code "
            "does; their test accuracy is that of the last step instead."
        )
    return result


def as_csv(analysis: Analysis, workdir: Path) -> str:
    """One row for each arm, direction and seed of the kept cells, also where none has finished."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ("val", "test", "last", "optimistic", "step")
    writer.writerow(("arm", "label", "direction", "seed", "learning_rate", *columns, "status"))
    for cell in cells(analysis.study):
        if analysis.chosen[cell.arm] != cell.learning_rate:
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
    """Everything: the study, all cells (those of learning rates not kept included), statistics."""
    study = analysis.study
    return {
        "study": {
            "title": study.title,
            "question": study.question,
            "seeds": study.seeds,
            **study.claim(),
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
        "learning_rates": dict(analysis.chosen),
        "scores": {
            arm: {
                seed: {name: dataclasses.asdict(score) for name, score in scores.items()}
                for seed, scores in by_seed.items()
            }
            for arm, by_seed in analysis.scores.items()
        },
        "teachers": {name: dict(values) for name, values in analysis.teachers.items()},
        "statistics": {
            direction: {arm: _statistics(finding) for arm, finding in found.items()}
            for direction, found in analysis.findings.items()
        },
        "verdicts": {arm: verdict(analysis, arm) for arm in study.arms},
    }


def _statistics(finding: Any) -> dict[str, Any]:
    def against(found: Against | None) -> dict[str, Any] | None:
        if found is None:
            return None
        gain = found.comparison.gain
        return {
            "arm": found.other,
            "seeds": found.comparison.seeds,
            "gain": gain.mean,
            "half_width": gain.half_width,
            "p": found.comparison.p,
            "p_corrected": found.p,
            "p_equivalent": found.comparison.p_equivalent,
            "p_equivalent_corrected": found.p_equivalent,
        }

    numbers = {}
    for field in ("test", "last", "optimistic"):
        values = list(getattr(finding, field).values())
        numbers[field] = t_interval(values)._asdict() if len(values) > 1 else None
    return {
        **numbers,
        "against_baseline": against(finding.baseline),
        "against_best_control": against(finding.control),
    }


def _table(head: list[str], body: Any) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def _interval(values: Mapping[int, float]) -> str:
    found = list(values.values())
    if len(found) < 2:
        return f"{found[0]:.1f}" if found else ""
    return str(t_interval(found))


def _gain(against: Against | None) -> str:
    if against is None:
        return ""
    return "{:+.1f} ± {:.1f}".format(*against.comparison.gain)


def _p(against: Against | None) -> str:
    if against is None:
        return ""
    return "< 0.001" if against.p < 0.001 else f"{against.p:.3f}"


def _plain(value: int | float | None) -> str:
    return "" if value is None else f"{value:.10g}"
