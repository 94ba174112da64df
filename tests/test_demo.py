"""The demo, cut short: the real command on the real data."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One epoch of one teacher and one student, run as a user would."""
    workdir = tmp_path_factory.mktemp("demo")
    command = [
        *(sys.executable, "train.py", "--config=configs/av_digits.py", f"--workdir={workdir}"),
        *("--config.train.num_epochs=1", "--config.teacher.num_epochs=1"),
        "--config.directions=('audio->image',)",
    ]
    # Without the flags of the other tests: real backbones are slow where XLA does not optimise.
    environment = {**os.environ, "XLA_FLAGS": ""}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return workdir, run


def test_demo_prints_a_table_and_the_reports_path(demo):
    workdir, run = demo
    lines = run.stdout.splitlines()
    assert re.match(r"accuracy in % +validation +test +last step +step", lines[2])
    assert any(re.match(r"student audio->image( +\d+\.\d){3} +3$", line) for line in lines)
    assert lines[-1] == f"report: {workdir / 'report.html'}"


def test_demo_says_nothing_else(demo):
    assert demo[1].stderr == ""


def test_demo_trains_on_real_digits_and_writes_only_into_its_workdir(demo):
    workdir, _ = demo
    assert json.loads((workdir / "results.json").read_text())["class_names"] == list("0123456789")
    assert (workdir / "data" / "av_digits").is_dir()
    assert "data:image/svg" in (workdir / "report.html").read_text(encoding="utf-8")
