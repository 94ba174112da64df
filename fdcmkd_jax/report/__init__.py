"""The report of a run: one self-contained HTML page.

``python -m fdcmkd_jax.report WORKDIR``, or ``fdcmkd-jax report WORKDIR``, writes the page of a
finished run again.
"""

import pathlib

from fdcmkd_jax.report.page import render
from fdcmkd_jax.report.run import RunError, read

FILE_NAME = "report.html"


def write(workdir: pathlib.Path) -> pathlib.Path:
    """Writes the report of the finished run in ``workdir`` and replaces an older one.

    Args:
        workdir: A run's folder with config.json, environment.json, results.json and one folder per
            model. If a model's log or features are missing, the page leaves out what needs them and
            says so.

    Returns:
        The path of the page: its figures and styles are inline, it has no script and fetches
        nothing.

    Raises:
        RunError: If ``workdir`` does not hold a finished run.
    """
    path = workdir / FILE_NAME
    path.write_text(render(read(workdir)), encoding="utf-8")
    return path


__all__ = ["FILE_NAME", "RunError", "write"]
