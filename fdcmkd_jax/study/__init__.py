"""Many runs: arms and their controls over seeds, with statistics, tables and a page.

``python -m fdcmkd_jax.study STUDY_FILE --workdir=DIR``; see its ``--help`` and ``studies/``.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from fdcmkd_jax.log import write_json
from fdcmkd_jax.study import page, tables
from fdcmkd_jax.study.analysis import Analysis, analyse, verdict
from fdcmkd_jax.study.publish import publish
from fdcmkd_jax.study.spec import Arm, Cell, Study, cells, check, read
from fdcmkd_jax.study.work import check_config, claim, locked, reuse, run_cells, status
from fdcmkd_jax.tables import ConfigError, unknown


def run(
    study: Study,
    workdir: Path,
    *,
    arms: Sequence[str] = (),
    jobs: int | None = None,
    report_only: bool = False,
    reuse_from: Path | None = None,
) -> Analysis:
    """Runs the cells that are missing and leaves tables and a page in ``workdir``.

    Called again it continues where it was cut off; failed cells are tried again.

    Args:
        study: From `read`.
        workdir: The study's folder; made if missing.
        arms: Only these and the baseline, whose teachers they share; all if empty.
        jobs: Processes at a time; as many as there are cores by default.
        report_only: Run nothing, write the tables and the page from what is there.
        reuse_from: Another study's folder, or one above several: its finished cells of the same
            config and seed are copied, not run again.

    Returns:
        The numbers written to ``study.json``, ``study.csv``, ``study.md`` and ``study.html``.

    Raises:
        ConfigError: On a mistake in the study or its config, a workdir of another study, or one
            that another process is using.
    """
    workdir = workdir.absolute()
    todo = chosen_cells(study, arms)
    check(study)
    if report_only and not workdir.is_dir():
        raise ConfigError(f"{workdir} does not exist; without --report-only the study is run.")
    with locked(workdir):
        claim(study, workdir)
        for cell in cells(study):
            if status(cell, workdir) == "done":
                check_config(study, cell, workdir)
        if reuse_from is not None:
            reuse(study, todo, workdir, reuse_from)
        if not report_only:
            run_cells(study, todo, workdir, jobs=jobs or len(os.sched_getaffinity(0)))
        analysis = analyse(study, workdir)
        write(analysis, workdir)
    return analysis


def chosen_cells(study: Study, arms: Sequence[str] = ()) -> list[Cell]:
    """The cells of some arms and of the baseline; all if none is named.

    Raises:
        ConfigError: If an arm is unknown.
    """
    for name in arms:
        if name not in study.arms:
            raise unknown("arm in --arms:", name, study.arms)
    kept = {*arms, study.baseline} if arms else set(study.arms)
    return [cell for cell in cells(study) if cell.arm in kept]


def write(analysis: Analysis, workdir: Path) -> None:
    """Leaves ``study.json``, ``study.csv``, ``study.md`` and ``study.html`` in ``workdir``."""
    write_json(workdir / "study.json", tables.as_json(analysis, workdir))
    for name, text in (
        ("study.csv", tables.as_csv(analysis, workdir)),
        ("study.md", tables.as_markdown(analysis)),
        ("study.html", page.render(analysis, workdir)),
    ):
        (workdir / name).write_text(text, encoding="utf-8")


__all__ = [
    "Analysis",
    "Arm",
    "Cell",
    "Study",
    "analyse",
    "cells",
    "chosen_cells",
    "publish",
    "read",
    "run",
    "status",
    "verdict",
    "write",
]
