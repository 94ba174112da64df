"""Interrupted runs: stopped, killed, damaged or locked, they end with the same bits."""

import os
import random
import shutil
import signal
import subprocess
import sys

import chex
import jax
import ml_collections
import numpy as np
import pytest
from builders import toy_config
from run_files import (
    TOTAL,
    TOY_RUN,
    Cut,
    arrays,
    assert_same_model,
    audio_shapes,
    quick,
    use_devices,
)

from fdcmkd_jax import experiment
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import log, loop
from fdcmkd_jax.training.checkpoint import load_variables
from fdcmkd_jax.training.lock import locked
from fdcmkd_jax.training.stop import StoppedError

pytestmark = pytest.mark.usefixtures("two_devices")


def run_until_row(count, config, workdir, monkeypatch):
    """A run that ends where it would have written so many rows of its log."""
    write, written = log.Log.write, []

    def write_or_cut(self, row):
        written.append(row)
        if len(written) == count:
            raise Cut
        write(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(log.Log, "write", write_or_cut)
        with pytest.raises(Cut):
            experiment.run(config, workdir, with_report=False)


@pytest.mark.parametrize("cut_after", [3, 9, 17])
def test_run_that_was_cut_off_continues_to_the_same_bits(
    reference, tmp_path, monkeypatch, cut_after
):
    run_until_row(cut_after, toy_config(), tmp_path, monkeypatch)
    experiment.run(toy_config(), tmp_path, with_report=False)
    for folder in ("teachers/audio", "teachers/image", "students/audio-to-image"):
        assert_same_model(tmp_path / folder, reference[0] / folder)


@pytest.mark.parametrize("saves", [[], [True]], ids=["last", "first_and_last"])
@pytest.mark.parametrize("cut_after", [None, 17])
def test_a_run_that_seldom_saves_ends_with_the_same_bits(
    reference, tmp_path, monkeypatch, saves, cut_after
):
    config = toy_config(**{"checkpoint.every_steps": 0})
    due = iter([*saves, *[False] * 20])
    monkeypatch.setattr(loop._Loop, "_is_long_ago", lambda self, saved_at: next(due))
    if cut_after:
        run_until_row(cut_after, config, tmp_path, monkeypatch)
    experiment.run(config, tmp_path, with_report=False)
    for folder in ("teachers/audio", "teachers/image", "students/audio-to-image"):
        assert_same_model(tmp_path / folder, reference[0] / folder)
    selected = log.read_json(tmp_path / "teachers/audio/results.json")["selected_step"]
    saved = {int(path.name) for path in (tmp_path / "teachers/audio/checkpoints").glob("[0-9]*")}
    assert {selected, TOTAL} <= saved <= {selected, 5, TOTAL}


@pytest.mark.parametrize(
    ("method", "terms", "cut_after"),  # Of 18 rows, the student's are the last 9.
    [
        ({"name": "crd", "negatives": 4, "size": 8}, ["contrast"], 13),
        ({"name": "crd", "negatives": 4, "size": 8}, ["contrast"], 15),
        (
            {"name": "c2kd", "stage": "stage2"},
            ["teacher", "teacher_proxy", "student_proxy", "exchange"],
            13,
        ),
    ],
    ids=str,
)
def test_a_memory_and_a_trained_teacher_continue_to_the_same_bits(
    tmp_path, monkeypatch, method, terms, cut_after
):
    config = quick()
    config.method = ml_collections.ConfigDict(method)
    config.weights = ml_collections.ConfigDict({"task": 1.0, **dict.fromkeys(terms, 0.1)})
    experiment.run(config, tmp_path / "whole", with_report=False)
    run_until_row(cut_after, config, tmp_path / "cut", monkeypatch)
    folder = "students/audio-to-image"
    saved = [path.name for path in (tmp_path / "cut" / folder / "checkpoints").iterdir()]
    assert saved
    assert str(TOTAL) not in saved
    experiment.run(config, tmp_path / "cut", with_report=False)
    assert_same_model(tmp_path / "cut" / folder, tmp_path / "whole" / folder)
    saved = arrays(tmp_path / "cut" / folder, TOTAL)["training"]
    if config.method.name == "crd":
        assert saved["memory"]["step"] == TOTAL
        np.testing.assert_array_equal(saved["memory"]["positions"]["ids"], 5000 + np.arange(44))
    else:
        weights, _ = load_variables(tmp_path / "cut" / "teachers" / "audio", audio_shapes())
        trained = {"params": saved["params"]["teacher"], "batch_stats": saved["teacher_stats"]}
        for before, now in zip(jax.tree.leaves(weights), jax.tree.leaves(trained), strict=True):
            assert np.any(before != now)


def test_run_killed_at_random_steps_ends_with_the_same_bits(alone, tmp_path):
    def start(kill_at):
        # Compiled as in this process, so that the bits are the same.
        environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        command = [sys.executable, TOY_RUN, tmp_path, "--devices=2", f"--kill-at={kill_at}"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    chance = random.Random(0)
    for _ in range(2):
        killed = start(chance.randrange(2, 20))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = start(0)
    assert finished.returncode == 0, finished.stderr
    for folder in ("teachers/audio", "students/audio-to-image"):
        assert_same_model(tmp_path / folder, alone / folder)


# A row within an epoch is written while the next step runs, whose rows, of training and of
# validation, then end the run.
@pytest.mark.parametrize(("stop_after", "expected"), [(2, 4), (12, 12)])
def test_a_run_that_sigterm_stopped_continues_to_the_same_bits(
    alone, tmp_path, monkeypatch, stop_after, expected
):
    write, rows_written = log.Log.write, []

    def write_and_signal(self, row):
        write(self, row)
        rows_written.append(row)
        if len(rows_written) == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    config = toy_config(directions=("audio->image",))
    with monkeypatch.context() as patch:
        patch.setattr(log.Log, "write", write_and_signal)
        with pytest.raises(StoppedError, match=r"stopped at step \d+ of 10 of ") as stopped:
            experiment.run(config, tmp_path, with_report=False)
    assert f"step {rows_written[-1]['step']} of" in str(stopped.value)
    assert len(rows_written) == expected
    experiment.run(config, tmp_path, with_report=False)
    for folder in ("teachers/audio", "students/audio-to-image"):
        assert_same_model(tmp_path / folder, alone / folder)


def test_a_checkpoint_that_cannot_be_read_falls_back_to_the_one_before_it(
    alone, tmp_path, monkeypatch
):
    config = toy_config(directions=("audio->image",))
    run_until_row(8, config, tmp_path, monkeypatch)
    folder = tmp_path / "teachers/audio/checkpoints"
    steps = sorted(
        (path for path in folder.iterdir() if path.name.isdigit()), key=lambda p: int(p.name)
    )
    assert len(steps) > 1
    for path in (steps[-1] / "training").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    experiment.run(config, tmp_path, with_report=False)
    assert_same_model(tmp_path / "teachers/audio", alone / "teachers/audio")


def test_checkpoints_of_which_none_can_be_read_are_refused(tmp_path, monkeypatch):
    config = toy_config(directions=("audio->image",))
    run_until_row(8, config, tmp_path, monkeypatch)
    for path in (tmp_path / "teachers/audio/checkpoints").rglob("training/**/*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"no checkpoint under .* can be read; delete"):
        experiment.run(config, tmp_path, with_report=False)


def test_a_second_run_in_a_workdir_in_use_is_refused(tmp_path):
    with (
        locked(tmp_path, "training"),
        pytest.raises(ConfigError, match=f"another process is training in {tmp_path}; wait for it"),
    ):
        experiment.run(toy_config(), tmp_path)


def test_a_lock_ends_with_its_process(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from fdcmkd_jax.training.lock import locked\n"
        "with locked(Path(sys.argv[1]), 'training'): os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    with locked(tmp_path, "training"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_run_continues_on_another_number_of_devices(reference, tmp_path, monkeypatch):
    folder = "students/audio-to-image"
    shutil.copytree(reference[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / folder / "checkpoints" / str(TOTAL))
    for name in (f"{folder}/results.json", "results.json", "report.html"):
        (tmp_path / "run" / name).unlink()
    use_devices(monkeypatch, 4)
    results = experiment.run(toy_config(), tmp_path / "run", with_report=False)
    chex.assert_trees_all_close(
        arrays(tmp_path / "run" / folder, TOTAL)["weights"],
        arrays(reference[0] / folder, TOTAL)["weights"],
        rtol=1e-3,
        atol=1e-4,
    )
    assert results["students"]["audio->image"]["last"]["step"] == TOTAL
