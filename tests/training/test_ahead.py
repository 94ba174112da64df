"""Programs compiled in the background: they change nothing and spoil nothing."""

import os
import threading

import pytest
from builders import toy_config
from run_files import assert_same_model, use_devices

from fdcmkd_jax import experiment
from fdcmkd_jax.training import ahead

CONFIG = {"directions": ("audio->image",)}
FOLDERS = ("teachers/audio", "students/audio-to-image")


@pytest.fixture
def threads(monkeypatch):
    """The threads in which the background's steps were prepared."""
    use_devices(monkeypatch, 1)
    prepare, used = ahead.prepare, []

    def record(*arguments):
        used.append(threading.current_thread())
        return prepare(*arguments)

    monkeypatch.setattr(ahead, "prepare", record)
    return used


def run(workdir, monkeypatch, *, cores):
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
        experiment.run(toy_config(**CONFIG), workdir, with_report=False)


def test_a_run_with_programs_compiled_ahead_ends_with_the_same_bits(threads, tmp_path, monkeypatch):
    run(tmp_path / "one", monkeypatch, cores=1)
    assert threads == []
    run(tmp_path / "two", monkeypatch, cores=2)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    assert not threads[0].is_alive()
    for folder in FOLDERS:
        assert_same_model(tmp_path / "two" / folder, tmp_path / "one" / folder)


def test_an_error_in_the_background_does_not_end_the_run(threads, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no memory for a second program")

    monkeypatch.setattr(ahead, "initial_state", fail)
    run(tmp_path, monkeypatch, cores=2)
    assert (tmp_path / "results.json").is_file()
