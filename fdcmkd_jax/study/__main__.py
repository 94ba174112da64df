"""The command line of studies: ``python -m fdcmkd_jax.study STUDY_FILE --workdir=DIR``."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

DESCRIPTION = """\
Runs every arm of a study over several seeds and says what the differences are worth.

An arm is a config with presets and overrides. All arms of a seed share its data, its teachers
(trained by the baseline arm) and the students' starting weights, so differences are paired.
A cell (one arm at one seed) that is finished is not run again; the same command continues a study
that was cut off, and tries failed cells again.
"""

EPILOG = """\
a study file is TOML; studies/controls.toml is an example:
  title, question             what the page says it is about
  config = "FILE.py"          the config file, from the study file's own folder
  seeds = 5                   seeds 0 to 4
  baseline = "ARM"            what the others are compared with
  margin = 1.0                smaller differences, in points, do not matter; state it beforehand
  presets, overrides          of every arm, before its own; optional
  learning_rates = [...]      train every arm at each, keep the best on validation; optional
  [arms.NAME]                 one table an arm, all keys optional:
    label, presets            what people read; presets of the config file, joined by commas
    overrides.SECTION.KEY     config values, as in overrides.weights.low = 1.0
    grid.SECTION.KEY = [...]  one arm a value, NAME_VALUE; several keys vary together
    controls = ["ARM", ...]   arms in which what should help is broken or left out

left in DIR:
  study.html study.md         verdicts, tables; the page has figures too
  study.csv study.json        one row an arm, direction and seed; everything
  cells/ARM/seedN/            the runs: config, checkpoints, metrics.jsonl, results.json, log.txt,
                              and failed.json with the reason where one failed
  data/ compiled/             shared by all cells

examples:
  python -m fdcmkd_jax.study studies/controls.toml --workdir=runs/controls
  python -m fdcmkd_jax.study studies/controls.toml --workdir=runs/controls --seeds=3 --arms=logit
  python -m fdcmkd_jax.study studies/controls.toml --workdir=runs/controls --report-only
  python -m fdcmkd_jax.study studies/table1.toml --workdir=runs/table1 --reuse=runs/controls

exit status: 0 if every cell of the call is finished; 1 if some failed; 2 and one line on a mistake.
"""


class _Parser(argparse.ArgumentParser):
    """Answers a mistake by one line."""

    def error(self, message: str) -> NoReturn:
        _fail(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = _Parser(
        prog="python -m fdcmkd_jax.study",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="STUDY_FILE", type=Path, help="a TOML file, see below")
    parser.add_argument(
        "--workdir", metavar="DIR", type=Path, help="the study's folder", required=True
    )
    parser.add_argument("--seeds", metavar="N", type=int, help="seeds 0 to N - 1, not the file's")
    parser.add_argument(
        "--arms", metavar="A,B", default="", help="run only these arms, and the baseline"
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        help="processes at a time, each on a core of its own (default: one a core); "
        "with 1 it has all cores, as is right for one GPU",
    )
    parser.add_argument(
        "--reuse",
        metavar="OTHER",
        type=Path,
        help="copy finished cells of the same config and seed from another study's DIR, or from "
        "all below a folder, and run only the rest",
    )
    parser.add_argument(
        "--publish",
        metavar="FOLDER",
        type=Path,
        help="leave NAME.md, its figures and NAME.csv there too, as docs/results/ holds them",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="run nothing, write tables and page again"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the cells and what is done; write nothing"
    )
    chosen = parser.parse_args(arguments)
    if chosen.jobs is not None and chosen.jobs < 1:
        parser.error(f"--jobs must be positive, got {chosen.jobs}.")
    if chosen.seeds is not None and chosen.seeds < 2:
        parser.error(f"an interval needs at least two seeds, got --seeds={chosen.seeds}.")
    # After the flags, so that --help and mistakes in flags answer at once.
    from fdcmkd_jax.tables import ConfigError

    try:
        return _run(chosen)
    except ConfigError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read or write {error.filename or chosen.workdir}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues the study.", file=sys.stderr)
        return 130


def _run(chosen: argparse.Namespace) -> int:
    from fdcmkd_jax import study as studies
    from fdcmkd_jax.study.spec import check

    study = studies.read(chosen.file)
    if chosen.seeds is not None:
        study = dataclasses.replace(study, seeds=chosen.seeds)
    arms = [name.strip() for name in chosen.arms.split(",") if name.strip()]
    cells = studies.chosen_cells(study, arms)
    if chosen.dry_run:
        check(study)
        words = {cell: studies.status(cell, chosen.workdir) for cell in cells}
        for cell, word in words.items():
            print(f"{word:8}{cell}")
        print(f"{list(words.values()).count('done')} of {len(cells)} cells are done.")
        return 0
    analysis = studies.run(
        study,
        chosen.workdir,
        arms=arms,
        jobs=chosen.jobs,
        report_only=chosen.report_only,
        reuse_from=chosen.reuse,
    )
    for name, arm in study.arms.items():
        print(f"{arm.label}: {studies.verdict(analysis, name)}")
    if chosen.publish is not None:
        page = studies.publish(analysis, chosen.workdir, chosen.publish, chosen.file.stem)
        print(f"published: {page}")
    print(f"report: {chosen.workdir.absolute() / 'study.html'}")
    failed = [cell for cell in cells if cell in analysis.failures]
    for cell in failed:
        print(f"failed: {cell}: {analysis.failures[cell]}", file=sys.stderr)
    return 1 if failed else 0


def _fail(message: str) -> NoReturn:
    print(f"study: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
