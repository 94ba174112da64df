"""A whole study: its cells, its tables and its page."""

import os
from collections.abc import Sequence
from pathlib import Path

from fdcmkd_jax.registry import ConfigError, unknown
from fdcmkd_jax.study import page, tables
from fdcmkd_jax.study.analysis import Analysis, analyze
from fdcmkd_jax.study.cell_config import cells, check_arms
from fdcmkd_jax.study.reuse import check_same_config, check_same_study, copy_finished_cells
from fdcmkd_jax.study.scheduler import run_cells, status
from fdcmkd_jax.study.spec import Cell, Study
from fdcmkd_jax.training.lock import locked
from fdcmkd_jax.training.log import write_json


def run(
    study: Study,
    workdir: Path,
    *,
    arms: Sequence[str] = (),
    jobs: int | None = None,
    report_only: bool = False,
    reuse_from: Path | None = None,
) -> Analysis:
    """Runs the missing cells and writes tables and a page into ``workdir``.

    A second call continues a study that was interrupted and tries failed cells again.

    Args:
        study: The study, from `read`.
        workdir: The study's folder; created if missing.
        arms: Run only these arms and the baseline, whose teachers they share; empty for all arms.
        jobs: Number of worker processes; by default the number of processor cores.
        report_only: Run no cell; write the tables and the page from the finished cells.
        reuse_from: Another study's folder, or a folder that holds several; its finished cells of
            the same config and seed are copied instead of run.

    Returns:
        The numbers written to ``study.json``, ``study.csv``, ``study.md`` and ``study.html``.

    Raises:
        ConfigError: On a mistake in the study or its config, or if the workdir belongs to another
            study or is used by another process.
    """
    workdir = workdir.absolute()
    chosen = chosen_cells(study, arms)
    check_arms(study)
    if report_only and not workdir.is_dir():
        raise ConfigError(f"{workdir} does not exist; without --report-only the study is run.")
    with locked(workdir, "running a study"):
        check_same_study(study, workdir)
        for cell in cells(study):
            if status(cell, workdir) == "done":
                check_same_config(study, cell, workdir)
        if reuse_from is not None:
            copy_finished_cells(study, chosen, workdir, reuse_from)
        if not report_only:
            run_cells(study, chosen, workdir, jobs=jobs or len(os.sched_getaffinity(0)))
        analysis = analyze(study, workdir)
        write(analysis, workdir)
    return analysis


def chosen_cells(study: Study, arms: Sequence[str] = ()) -> list[Cell]:
    """Lists the cells of the named arms and of the baseline; all cells if no arm is named.

    Raises:
        ConfigError: If an arm is unknown.
    """
    for name in arms:
        if name not in study.arms:
            raise unknown("arm in --arms:", name, study.arms)
    kept = {*arms, study.baseline} if arms else set(study.arms)
    return [cell for cell in cells(study) if cell.arm in kept]


def write(analysis: Analysis, workdir: Path) -> None:
    """Writes ``study.json``, ``study.csv``, ``study.md`` and ``study.html`` into ``workdir``."""
    write_json(workdir / "study.json", tables.as_json(analysis, workdir))
    for name, text in (
        ("study.csv", tables.as_csv(analysis, workdir)),
        ("study.md", tables.as_markdown(analysis)),
        ("study.html", page.render(analysis, workdir)),
    ):
        (workdir / name).write_text(text, encoding="utf-8")
