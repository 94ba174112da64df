"""Command line of the report of a finished run: ``python -m fdcmkd_jax.report WORKDIR``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

DESCRIPTION = """\
Writes WORKDIR/report.html again from the files of a finished run in WORKDIR.

A run writes its report when it ends. Use this command after a change to the report itself, or for
a workdir that was copied from elsewhere. It trains nothing, reads no data set and takes seconds.
"""

EPILOG = """\
Read from WORKDIR:
  config.json, environment.json, results.json     required; written when a run finishes
  teachers/MODALITY/                              metrics.jsonl (curves), test.npz (features)
  students/TEACHER-to-STUDENT/                    the same
If a model lacks metrics.jsonl or test.npz, the page leaves out what needs them.

Examples:
  {prog} runs/av_digits && xdg-open runs/av_digits/report.html

Exit status: 0, and the path of the page is printed; 2, with a message of one line, if WORKDIR does
not hold a finished run.
"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m fdcmkd_jax.report") -> int:
    """Runs the command line.

    Args:
        arguments: The arguments after the command's name; those of this process by default.
        prog: The command's name, for the help text.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EPILOG.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workdir", metavar="WORKDIR", type=pathlib.Path, help="the folder of a finished run"
    )
    workdir = parser.parse_args(arguments).workdir
    # Imported late, so that --help does not wait for JAX and matplotlib.
    from fdcmkd_jax import report

    try:
        print(report.write(workdir))
    except report.RunError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        path = error.filename or workdir
        print(f"error: cannot read or write {path}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
