"""Writes the report of a finished run again: ``python -m fdcmkd_jax.report WORKDIR``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from fdcmkd_jax import report

DESCRIPTION = """\
Writes WORKDIR/report.html again from what a finished run left in WORKDIR.

A run writes its report when it ends, so this is for after a change to the report itself, or for a
workdir copied from elsewhere. Nothing is trained and no data set is read; it takes seconds.
"""

EPILOG = """\
read from WORKDIR:
  config.json, environment.json, results.json     required; written when a run finishes
  teachers/MODALITY/                              metrics.jsonl (curves), test.npz (features)
  students/TEACHER-to-STUDENT/                    the same
A model without metrics.jsonl or test.npz is reported without what needs them.

example:
  python -m fdcmkd_jax.report runs/av_digits && xdg-open runs/av_digits/report.html

exit status: 0 and the path of the page; 2 and one line if WORKDIR holds no finished run.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fdcmkd_jax.report",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workdir", metavar="WORKDIR", type=pathlib.Path, help="the folder a run was written to"
    )
    workdir = parser.parse_args(arguments).workdir
    try:
        print(report.write(workdir))
    except report.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
