"""The page of a study: one HTML document that needs nothing beside itself."""

import importlib.resources
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fdcmkd_jax import plan
from fdcmkd_jax.log import read_json, read_rows
from fdcmkd_jax.report.figures import similarity_bars
from fdcmkd_jax.report.matching import IncomparableError, matched
from fdcmkd_jax.report.page import Section, fill
from fdcmkd_jax.report.run import RunError
from fdcmkd_jax.report.run import read as read_run
from fdcmkd_jax.report.similarity import BANDS, PAIRINGS, band_similarity
from fdcmkd_jax.study import figures, tables
from fdcmkd_jax.study.analysis import Analysis, verdict
from fdcmkd_jax.study.figures import Shares
from fdcmkd_jax.study.spec import Cell, teacher_cell

POINTS = 200
"""Most steps of a balance chart; longer logs are averaged in groups."""


def render(analysis: Analysis, workdir: Path) -> str:
    """The page, from the numbers and from what the cells logged."""
    study = analysis.study
    similarity, cosines, seeds = _similarity(analysis, workdir)
    return fill(
        importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8"),
        study=study,
        verdicts={arm: verdict(analysis, arm) for arm in study.arms},
        results={tables.title_of(d): tables.rows(analysis, d) for d in analysis.findings},
        optimistic=analysis.optimistic,
        teachers=tables.teachers(analysis),
        notes=tables.notes(analysis),
        failures={str(cell): why for cell, why in analysis.failures.items()},
        gains=_gains(analysis),
        dots=_dots(analysis),
        balance=_balance(analysis, workdir),
        similarity=similarity,
        cosines=cosines,
        similarity_seeds=seeds,
        pairings=PAIRINGS,
    )


def _gains(analysis: Analysis) -> Section:
    section = Section()
    if analysis.compared:
        texts = "; ".join(f"{arm}: {verdict(analysis, arm)}" for arm in analysis.study.arms)
        section.add(figures.forest(analysis), f"Gains over the baseline with intervals. {texts}.")
    else:
        section.left_out.append("No arm has two finished seeds in common with the baseline yet.")
    return section


def _dots(analysis: Analysis) -> Section:
    section = Section()
    if analysis.findings:
        arms = ", ".join(arm.label for arm in analysis.study.arms.values())
        section.add(figures.seeds(analysis), f"Test accuracy of every seed, by arm: {arms}.")
    else:
        section.left_out.append("No cell has finished yet.")
    return section


def _balance(analysis: Analysis, workdir: Path) -> Section:
    section, found = Section(), loss_shares(analysis, workdir)
    if found:
        section.add(
            figures.balance(found),
            f"Shares of the weighted loss terms over steps for {', '.join(found)}.",
        )
    else:
        section.left_out.append("No arm has logged several weighted loss terms.")
    return section


def loss_shares(analysis: Analysis, workdir: Path) -> dict[str, Shares]:
    """By label, how the loss of each arm with several weighted terms is divided among them."""
    found = {}
    for name, arm in analysis.study.arms.items():
        shares = _shares(analysis, name, workdir)
        if shares is not None:
            found[arm.label] = shares
    return found


def _shares(analysis: Analysis, arm: str, workdir: Path) -> Shares | None:
    """An arm's division of the loss, averaged over seeds and directions; None for one term."""
    logs: dict[int, list[tuple[dict[str, float], dict[str, float]]]] = {}
    weights: Mapping[str, float] = {}
    for seed, scores in analysis.scores[arm].items():
        folder = workdir / Cell(arm, seed, analysis.chosen[arm]).folder
        weights = read_json(folder / "config.json")["weights"]
        weights = {term: weight for term, weight in weights.items() if weight > 0}
        for direction in scores:
            path = folder / plan.Direction.parse(direction).folder / "metrics.jsonl"
            for row in read_rows(path):
                if row["split"] == "train":
                    values = {term: weights[term] * row["terms"][term] for term in weights}
                    norms = {term: row["gradient_norms"][term] for term in weights}
                    logs.setdefault(row["step"], []).append((_divide(values), _divide(norms)))
    if len(weights) < 2 or not logs:
        return None
    steps = sorted(logs)

    def mean(which: int, term: str) -> np.ndarray:
        curve = np.array([np.nanmean([log[which][term] for log in logs[step]]) for step in steps])
        return _thin(curve)

    return Shares(
        _thin(np.array(steps, float)),
        {term: mean(0, term) for term in weights},
        {term: mean(1, term) for term in weights},
    )


def _divide(parts: Mapping[str, float]) -> dict[str, float]:
    """Shares of the sum; a term that no example of the window counted has none."""
    known = {term: 0.0 if math.isnan(part) else part for term, part in parts.items()}
    total = sum(known.values())
    return {term: part / total if total else 0.0 for term, part in known.items()}


def _thin(curve: np.ndarray) -> np.ndarray:
    if len(curve) <= POINTS:
        return curve
    return np.array([group.mean() for group in np.array_split(curve, POINTS)])


def _similarity(
    analysis: Analysis, workdir: Path
) -> tuple[Section, dict[str, dict[str, float]], int]:
    """Mean cosines between the two teachers' bands, averaged over seeds."""
    section, seeds = Section(), []
    title, reason = "", "no seed has finished."
    for seed in range(analysis.study.seeds):
        try:
            run = read_run(workdir / teacher_cell(analysis.study, seed).folder)
            first, second, *_ = run.teachers.values()
            one, other = matched(first, second)
        except RunError:
            continue
        except ValueError as error:
            two = isinstance(error, IncomparableError)
            reason = str(error) if two else "the runs have fewer than two teachers."
            continue
        title = f"{first.label} and {second.label}"
        seeds.append(band_similarity(one.features, other.features))
    if not seeds:
        section.left_out.append(f"No band similarity of the teachers: {reason}")
        return section, {}, 0
    cosines = {
        band: {p: float(np.mean([found[band][p] for found in seeds])) for p in PAIRINGS}
        for band in BANDS
    }
    values = "; ".join(f"{band} {row['true pairs']:.2f}" for band, row in cosines.items())
    section.add(
        similarity_bars(cosines, title),
        f"Mean cosine of {title} by band, for true and broken pairs. True pairs: {values}.",
    )
    return section, cosines, len(seeds)
