"""The page of a study: one self-contained HTML document."""

import importlib.resources
from pathlib import Path

import numpy as np

from fdcmkd_jax.report.figures import similarity_bars
from fdcmkd_jax.report.matching import IncomparableError, matched
from fdcmkd_jax.report.page import Section, fill
from fdcmkd_jax.report.run import RunError
from fdcmkd_jax.report.run import read as read_run
from fdcmkd_jax.report.similarity import BANDS, PAIRINGS, band_similarity
from fdcmkd_jax.study import figures, tables
from fdcmkd_jax.study.analysis import Analysis, verdict
from fdcmkd_jax.study.cell_config import teacher_cell
from fdcmkd_jax.study.shares import loss_shares


def render(analysis: Analysis, workdir: Path) -> str:
    """Renders the page from the analysis and from the logs of the cells.

    Args:
        analysis: The study's numbers.
        workdir: The study's folder.

    Returns:
        An HTML document with inline figures and styles.
    """
    study = analysis.study
    similarity, cosines, seeds = _similarity(analysis, workdir)
    return fill(
        importlib.resources.files(__package__).joinpath("page.html").read_text("utf-8"),
        study=study,
        metric=analysis.metric,
        verdicts={arm: verdict(analysis, arm) for arm in study.arms},
        results={tables.title_of(d): tables.rows(analysis, d) for d in analysis.results},
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
    if analysis.results:
        arms = ", ".join(arm.label for arm in analysis.study.arms.values())
        section.add(
            figures.seeds(analysis), f"Test {analysis.metric} of every seed, by arm: {arms}."
        )
    else:
        section.left_out.append("No cell has finished yet.")
    return section


def _balance(analysis: Analysis, workdir: Path) -> Section:
    section, by_label = Section(), loss_shares(analysis, workdir)
    if not by_label:
        section.left_out.append("No arm has logged several weighted loss terms.")
        return section
    section.add(
        figures.balance(by_label),
        f"Shares of the weighted loss terms over steps for {', '.join(by_label)}.",
    )
    not_measured = {
        label: ", ".join(shares.not_measured)
        for label, shares in by_label.items()
        if shares.not_measured
    }
    if not_measured:
        listed = "; ".join(f"{label}: {terms}" for label, terms in not_measured.items())
        section.left_out.append(
            "Gradient norms are not measured for terms that read feature maps, and not shown for "
            f"an arm with fewer than two measured terms. Without gradient norms: {listed}."
        )
    return section


def _similarity(
    analysis: Analysis, workdir: Path
) -> tuple[Section, dict[str, dict[str, float]], int]:
    """Averages the cosines between the two teachers' bands over seeds.

    Returns:
        The section, the mean cosine by band and pairing, and the number of seeds.
    """
    section, by_seed = Section(), []
    title, reason = "", "no seed has finished."
    for seed in range(analysis.study.seeds):
        try:
            run = read_run(workdir / teacher_cell(analysis.study, seed).folder)
        except RunError:
            continue
        if len(run.teachers) < 2:
            reason = "the runs have fewer than two teachers."
            continue
        first, second, *_ = run.teachers.values()
        try:
            first_examples, second_examples = matched(first, second)
        except IncomparableError as error:
            reason = str(error)
            continue
        title = f"{first.label} and {second.label}"
        by_seed.append(band_similarity(first_examples.features, second_examples.features))
    if not by_seed:
        section.left_out.append(f"No band similarity of the teachers: {reason}")
        return section, {}, 0
    cosines = {
        band: {p: float(np.mean([cosine[band][p] for cosine in by_seed])) for p in PAIRINGS}
        for band in BANDS
    }
    values = "; ".join(f"{band} {row['true pairs']:.2f}" for band, row in cosines.items())
    section.add(
        similarity_bars(cosines, title),
        f"Mean cosine of {title} by band, for true and broken pairs. True pairs: {values}.",
    )
    return section, cosines, len(by_seed)
