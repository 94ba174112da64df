"""Tests of a toy study in separate processes: killed and continued, with cells that fail."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = f"""
title = "Toy"
question = "Do studies work?"
config = "{ROOT / "tests" / "toy_study.py"}"
seeds = 2
baseline = "none"
margin = 1.0
arms.none.presets = "none"
arms.broken.presets = "broken"
arms.dead.presets = "die"
arms.fd_cmkd = {{ label = "FD-CMKD", overrides.weights.low = 1.0 }}
"""
OUTPUTS = ("study.csv", "study.md", "study.json", "study.html")


def start(file, workdir, *flags):
    """Starts the command as a user does, on one device."""
    return subprocess.Popen(
        [sys.executable, "-m", "fdcmkd_jax.study", str(file), f"--workdir={workdir}", *flags],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "toy.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference(file, tmp_path_factory):
    """The workdir of an uninterrupted study, and the result of its command."""
    workdir = tmp_path_factory.mktemp("reference")
    return workdir, finish(start(file, workdir, "--jobs=1"))


def test_cells_that_fail_are_reported_and_do_not_stop_the_others(reference):
    workdir, (code, out, err) = reference
    assert code == 1
    assert len(out.splitlines()) == 5  # A verdict per arm, and the path of the page.
    assert "dead: not judged: 0 of 2 seeds finished" in out
    assert err.count("failed: ") == 4, err
    assert "failed: broken, seed 0: method 'fd_cmkd': cutoff must lie inside (0, 1)" in err
    assert "failed: dead, seed 1: its process was ended by SIGKILL; see log.txt" in err
    cells = json.loads((workdir / "study.json").read_text())["cells"]
    done = [(cell["arm"], cell["seed"]) for cell in cells if cell["status"] == "done"]
    assert sorted(done) == [("fd_cmkd", 0), ("fd_cmkd", 1), ("none", 0), ("none", 1)]


def test_arms_of_a_seed_share_the_baselines_teachers_and_other_seeds_have_their_own(reference):
    def teacher(arm, seed):
        path = reference[0] / "cells" / arm / f"seed{seed}" / "teachers/audio/test.npz"
        return path.read_bytes()

    assert teacher("fd_cmkd", 0) == teacher("none", 0)
    assert teacher("none", 0) != teacher("none", 1)


def test_a_study_killed_half_way_and_started_again_leaves_the_same(reference, file, tmp_path):
    process = start(file, tmp_path, "--jobs=1")
    deadline = time.monotonic() + 300
    while not (tmp_path / "cells/fd_cmkd/seed0/students/audio-to-image/metrics.jsonl").is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = sorted(tmp_path.glob("cells/*/seed*/results.json"))
    assert 0 < len(done) < 4
    times = {path: path.stat().st_mtime_ns for path in done}
    code, out, _ = finish(start(file, tmp_path, "--jobs=1"))
    assert (code, out.splitlines()[:-1]) == (1, reference[1][1].splitlines()[:-1])
    assert times == {path: path.stat().st_mtime_ns for path in done}
    for name in OUTPUTS:
        assert (tmp_path / name).read_bytes() == (reference[0] / name).read_bytes(), name


def test_finished_cells_of_another_study_are_copied_and_published(reference, file, tmp_path):
    workdir, pages = tmp_path / "study", tmp_path / "pages"
    flags = (f"--reuse={reference[0]}", "--arms=fd_cmkd", f"--publish={pages}")
    code, _, err = finish(start(file, workdir, *flags))
    assert code == 0, err
    names = ("results.json", "environment.json", "log.txt")
    for cell in ("none/seed0", "none/seed1", "fd_cmkd/seed0", "fd_cmkd/seed1"):
        here, there = (folder / "cells" / cell for folder in (workdir, reference[0]))
        for name in names:  # The times too: nothing ran.
            assert (here / name).stat().st_mtime_ns == (there / name).stat().st_mtime_ns
    page = (pages / "toy.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((.*?)\)", page)
    assert len(links) == 4
    assert all((pages / name).is_file() for name in links)
    assert "python -m fdcmkd_jax.study studies/toy.toml" in page
    assert str(tmp_path) not in page


def test_the_table_has_a_row_for_each_arm_direction_and_seed(reference):
    with (reference[0] / "study.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 4 * 1 * 2
    for row in rows:
        if row["status"] == "done":
            path = reference[0] / "cells" / row["arm"] / f"seed{row['seed']}" / "results.json"
            entry = json.loads(path.read_text())["students"][row["direction"]]
            assert float(row["test"]) == pytest.approx(100 * entry["test"]["accuracy"])
            assert float(row["last"]) == pytest.approx(100 * entry["last"]["test"]["accuracy"])
        else:
            assert (row["status"], row["test"]) == ("failed", "")
