"""A finished run with its report."""

import pytest
from run_builders import make_run

from fdcmkd_jax import report
from fdcmkd_jax.report import style


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The workdir of a run in both directions with its report; tests must not change it."""
    workdir = make_run(tmp_path_factory.mktemp("finished"))
    report.write(workdir)
    return workdir


@pytest.fixture(scope="session")
def page(finished):
    """The text of its page."""
    return (finished / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves figures empty: drawing them takes seconds, and most tests read only the text."""
    monkeypatch.setattr(style, "data_uri", lambda figure: "data:,")
