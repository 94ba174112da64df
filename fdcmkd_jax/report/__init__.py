"""The report of a run: one HTML page that needs nothing beside itself.

``python -m fdcmkd_jax.report WORKDIR`` writes it again from what the run left behind.
"""

import pathlib

from fdcmkd_jax.report.page import render
from fdcmkd_jax.report.run import RunError, read

FILE_NAME = "report.html"


def write(workdir: pathlib.Path) -> pathlib.Path:
    """Writes the report of the finished run in ``workdir``, replacing an older one.

    Args:
        workdir: Where the run left config.json, environment.json, results.json and one folder a
            model. Curves or features that a model did not leave are left out, and the page says so.

    Returns:
        The path of the page: figures and styles inline, no script, nothing fetched.

    Raises:
        RunError: If ``workdir`` does not hold a finished run.
    """
    path = workdir / FILE_NAME
    path.write_text(render(read(workdir)), encoding="utf-8")
    return path


__all__ = ["FILE_NAME", "RunError", "write"]
