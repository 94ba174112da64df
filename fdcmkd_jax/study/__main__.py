"""Command line of studies: ``python -m fdcmkd_jax.study STUDY_FILE --workdir=DIR``."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

DESCRIPTION = """\
Runs every arm of a study over several seeds and compares the arms statistically.

An arm is a config with presets and overrides. All arms of a seed share the data, the teachers
(trained by the baseline arm) and the initial parameters of the students, so differences between
arms are paired. A cell is one arm at one seed. Finished cells are not run again: the same command
continues a study that was interrupted and tries failed cells again.
"""

EPILOG = """\
A study file is TOML; studies/controls.toml is an example:
  title, question             title and text of the page
  config = "FILE.py"          the config file, relative to the folder of the study file
  seeds = 5                   seeds 0 to 4
  baseline = "ARM"            the arm that all others are compared with
  margin = 1.0                equivalence margin in points; fix it before running the study
  presets, overrides          for every arm, applied before the arm's own; optional
  learning_rates = [...]      train every arm at each rate and keep the best on validation; optional
  [arms.NAME]                 one table per arm; all keys are optional:
    label, presets            name in tables and figures; presets of the config file, joined by
                              commas
    overrides.SECTION.KEY     config values, as in overrides.weights.low = 1.0
    grid.SECTION.KEY = [...]  one arm per value, named NAME_VALUE; several keys vary together
    controls = ["ARM", ...]   arms that lack the ingredient this arm is meant to test

Written to DIR:
  study.html study.md         verdicts and tables; the page also has figures
  study.csv study.json        one row per arm, direction and seed; all numbers
  cells/ARM/seedN/            the runs: config, checkpoints, metrics.jsonl, results.json, log.txt,
                              and failed.json with the reason if the run failed
  data/                       shared by all cells
Compiled programs lie in ~/.cache/fdcmkd_jax, as those of the command train; see its --help.

Examples:
  {prog} studies/controls.toml --workdir=runs/controls
  {prog} studies/controls.toml --workdir=runs/controls --seeds=3 --arms=kd
  {prog} studies/controls.toml --workdir=runs/controls --report-only
  {prog} studies/table1.toml --workdir=runs/table1 --reuse=runs/controls
  {prog} studies/table2.toml --config=configs/ave.py --set data.data_dir=data \\
      --workdir=runs/table1_ave

Exit status: 0 if every cell of the call is finished; 1 if some failed; 2, with a message of one
line, on a mistake in the command, the study file or the config.
"""


class _Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        _fail(message)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m fdcmkd_jax.study") -> int:
    """Runs the command line.

    Args:
        arguments: The arguments after the command's name; those of this process by default.
        prog: The command's name, for the help text.

    Returns:
        The exit status.
    """
    parser = _make_parser(prog)
    flags = parser.parse_args(arguments)
    if flags.jobs is not None and flags.jobs < 1:
        parser.error(f"--jobs must be positive, got {flags.jobs}.")
    if flags.seeds is not None and flags.seeds < 2:
        parser.error(f"an interval needs at least two seeds, got --seeds={flags.seeds}.")
    # Imported late, so that --help and mistakes in flags are answered without delay.
    from fdcmkd_jax.registry import ConfigError

    try:
        return _run(flags)
    except ConfigError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read or write {error.filename or flags.workdir}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues the study.", file=sys.stderr)
        return 130


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EPILOG.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="STUDY_FILE", type=Path, help="a TOML file, see below")
    parser.add_argument(
        "--workdir", metavar="DIR", type=Path, help="the study's folder", required=True
    )
    parser.add_argument(
        "--config",
        metavar="FILE[:PRESETS]",
        default="",
        help="use this config file, and these presets in every arm, instead of the file's config",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a config value in every arm, such as data.manual_dir=downloads/AVE_Dataset; may "
        "be repeated",
    )
    parser.add_argument(
        "--seeds", metavar="N", type=int, help="use seeds 0 to N - 1 instead of the file's"
    )
    parser.add_argument(
        "--arms", metavar="A,B", default="", help="run only these arms and the baseline"
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        help="number of processes, each on a processor core of its own (default: one per core); "
        "a single process uses all cores, which suits one GPU",
    )
    parser.add_argument(
        "--reuse",
        metavar="OTHER",
        type=Path,
        help="copy finished cells of the same config and seed from another study's DIR, or from "
        "all studies below a folder, and run only the rest",
    )
    parser.add_argument(
        "--publish",
        metavar="FOLDER",
        type=Path,
        help="also write NAME.md, its figures and NAME.csv into FOLDER, as in docs/results/",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="run nothing; write tables and page again"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the cells and their status; write nothing"
    )
    return parser


def _run(flags: argparse.Namespace) -> int:
    from fdcmkd_jax import study as studies  # Loads JAX, which takes seconds.
    from fdcmkd_jax.registry import parse_option
    from fdcmkd_jax.study.cell_config import check_arms

    config, _, presets = flags.config.partition(":")
    values = dict(parse_option(text) for text in flags.set)
    study = studies.read(flags.file).on(Path(config) if config else None, presets, values)
    if flags.seeds is not None:
        study = dataclasses.replace(study, seeds=flags.seeds)
    arms = [name.strip() for name in flags.arms.split(",") if name.strip()]
    cells = studies.chosen_cells(study, arms)
    if flags.dry_run:
        check_arms(study)
        statuses = {cell: studies.status(cell, flags.workdir) for cell in cells}
        for cell, status in statuses.items():
            print(f"{status:8}{cell}")
        print(f"{list(statuses.values()).count('done')} of {len(cells)} cells are done.")
        return 0
    analysis = studies.run(
        study,
        flags.workdir,
        arms=arms,
        jobs=flags.jobs,
        report_only=flags.report_only,
        reuse_from=flags.reuse,
    )
    for name, arm in study.arms.items():
        print(f"{arm.label}: {studies.verdict(analysis, name)}")
    if flags.publish is not None:
        page = studies.publish(analysis, flags.workdir, flags.publish, flags.file.stem)
        print(f"published: {page}")
    print(f"report: {flags.workdir.absolute() / 'study.html'}")
    failed = [cell for cell in cells if cell in analysis.failures]
    for cell in failed:
        print(f"failed: {cell}: {analysis.failures[cell]}", file=sys.stderr)
    return 1 if failed else 0


def _fail(message: str) -> NoReturn:
    """Prints a message in one line and exits with status 2."""
    print(f"study: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
