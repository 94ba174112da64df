"""Tests of the report's command line."""

import pytest
from run_builders import make_run, write_json

from fdcmkd_jax import report
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.report import __main__ as command_line


@pytest.mark.usefixtures("undrawn")
def test_it_prints_the_path_of_the_page(tmp_path, capsys):
    make_run(tmp_path)
    assert command_line.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")


def assert_one_line(capsys, workdir, message):
    assert command_line.main([str(workdir)]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert error.count("\n") == 1
    assert message in error


def test_a_missing_workdir(tmp_path, capsys):
    assert_one_line(capsys, tmp_path / "nowhere", "nowhere is not a folder")


def test_an_unfinished_run(tmp_path, capsys):
    assert_one_line(capsys, tmp_path, "has no results.json")
    assert not (tmp_path / "report.html").exists()


def test_results_that_are_not_json(tmp_path, capsys):
    (tmp_path / "results.json").write_text("{")
    assert_one_line(capsys, tmp_path, "is not JSON")


def test_results_of_something_else(tmp_path, capsys):
    make_run(tmp_path)
    write_json(tmp_path / "results.json", {"seed": 0})
    assert_one_line(capsys, tmp_path, "lacks the key 'class_names'")


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.main(["--help"])
    assert stop.value.code == 0
    assert "Examples:" in capsys.readouterr().out


def test_help_shows_the_name_of_the_command(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--help"], prog="fdcmkd-jax report")
    shown = capsys.readouterr().out
    assert shown.startswith("usage: fdcmkd-jax report ")
    assert "fdcmkd-jax report runs/av_digits" in shown
    assert "python -m" not in shown


@pytest.mark.usefixtures("undrawn")
def test_unreadable_features(tmp_path, capsys):
    make_run(tmp_path)
    (tmp_path / "teachers" / "audio" / "test.npz").write_bytes(b"PK\x03\x04 cut off")
    assert_one_line(capsys, tmp_path, "cannot read the features in")


def test_a_run_error_is_a_config_error():
    assert issubclass(report.RunError, ConfigError)
