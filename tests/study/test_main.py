"""Tests of the study's command line: mistakes, help, dry runs."""

from pathlib import Path

import pytest
from run_builders import put_cells

from fdcmkd_jax import study as studies
from fdcmkd_jax.study import __main__ as command_line
from fdcmkd_jax.study import chosen_cells
from fdcmkd_jax.study.cell_config import config_of
from fdcmkd_jax.study.reuse import check_same_study
from fdcmkd_jax.study.spec import Cell
from fdcmkd_jax.training.lock import locked


def mistakes():
    """Returns name, replaced text of the study file, replacement, flags, parts of the message."""
    arm = "[arms.none]\n"
    return [
        ("unknown key", "seeds", "seed", (), ("unknown option of study 'toy': 'seed'", "'seeds'?")),
        ("missing key", "margin = 1.0", "", (), ("study 'toy' needs the option 'margin'",)),
        ("wrong type", "seeds = 3", "seeds = 'x'", (), ("seeds must be a whole number, got 'x'",)),
        ("one seed", "seeds = 3", "seeds = 1", (), ("at least two seeds, got seeds = 1",)),
        ("one seed by flag", "T", "T", ("--seeds=1",), ("at least two seeds, got --seeds=1",)),
        ("no margin", "margin = 1.0", "margin = 0.0", (), ("margin must be positive",)),
        ("not TOML", "seeds = 3", "seeds 3", (), ("toy.toml is not TOML", "line")),
        ("no config", "av_digits.py", "digits.py", (), ("config file", "digits.py does not exist")),
        ("unknown arm", '"mismatched",', '"mismatch",', (), ("'mismatch'", "'mismatched'?")),
        ("no baseline", 'ne = "none"', 'ne = "nine"', (), ("arm in baseline: 'nine'", "'none'?")),
        ("arm of a flag", "T", "T", ("--arms=fd",), ("arm in --arms: 'fd'", "fd_cmkd")),
        ("arm's key", arm, f"{arm}color = 1\n", (), ("option of arm 'none': 'color'", "controls")),
        ("arm no table", "[arms.none]", "arms.x = 3\n[arms.none]", (), ("arm 'x' must hold keys",)),
        ("arm no folder", "arms.none", "arms.'a/b'", (), ("letters, digits", "'a/b'")),
        ("preset", 's = "none"', 's = "non"', (), ("arm 'none'", "unknown preset 'non'")),
        (
            *("config key", arm, f"{arm}overrides.optim.rate = 1\n", ()),
            ("arm 'none': unknown config key in optim.rate: 'rate'", "learning_rate"),
        ),
        (
            *("config value", arm, f"{arm}overrides.seed = 'x'\n", ()),
            ("arm 'none': seed cannot be 'x'",),
        ),
        (
            *("uneven grid", arm, f"{arm}grid = {{ seed = [1], input.batch_size = [1, 2] }}\n", ()),
            ("arm 'none'", "one common length"),
        ),
        (
            *("rates", "seeds = 3", "seeds = 3\nlearning_rates = [0.3]", ()),
            ("learning_rates must include the config's rate 0.1",),
        ),
        ("no jobs", "T", "T", ("--jobs=0",), ("--jobs must be positive, got 0",)),
        ("flag", "T", "T", ("--job-count=2",), ("unrecognized arguments: --job-count=2",)),
        ("flag value", "T", "T", ("--seeds=many",), ("--seeds", "invalid int value: 'many'")),
    ]


def fails(capsys, *arguments):
    """The one line with which a command is refused."""
    with pytest.raises(SystemExit) as caught:
        command_line.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("study: ")
    return err


@pytest.mark.parametrize("mistake", mistakes(), ids=[mistake[0] for mistake in mistakes()])
def test_a_mistake_is_answered_by_one_line_and_nothing_is_written(mistake, file, tmp_path, capsys):
    _, old, new, flags, expected = mistake
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    message = fails(capsys, file, f"--workdir={tmp_path / 'runs'}", *flags)
    assert [part for part in expected if part not in message] == [], message
    assert not (tmp_path / "runs").exists()


def test_a_study_file_that_does_not_exist_is_named(tmp_path, capsys):
    message = fails(capsys, tmp_path / "no.toml", f"--workdir={tmp_path}")
    assert "cannot read the study file" in message
    assert "no.toml: No such file" in message


def test_a_command_without_a_workdir_is_refused(file, capsys):
    assert "--workdir" in fails(capsys, file)


def test_a_workdir_of_another_study_is_refused_with_the_difference(file, change, tmp_path, capsys):
    workdir = tmp_path / "runs"
    check_same_study(change("margin = 1.0", "margin = 0.5"), workdir)
    change("margin = 0.5", "margin = 1.0")
    message = fails(capsys, file, f"--workdir={workdir}", "--report-only")
    assert "holds another study (margin: 0.5 there, 1.0 now); choose another" in message


def test_a_workdir_in_use_is_refused(file, tmp_path, capsys):
    with locked(tmp_path / "runs", "running a study"):
        message = fails(capsys, file, f"--workdir={tmp_path / 'runs'}", "--report-only")
    assert "another process is running a study in" in message


def test_a_workdir_that_is_a_file_is_refused(file, tmp_path, capsys):
    message = fails(capsys, file, f"--workdir={file}")
    assert f"cannot read or write {file}: File exists" in message


def test_a_report_of_a_workdir_that_does_not_exist_is_refused(file, tmp_path, capsys):
    message = fails(capsys, file, f"--workdir={tmp_path / 'runs'}", "--report-only")
    assert "runs does not exist; without --report-only the study is run" in message
    assert not (tmp_path / "runs").exists()


def test_help_lists_the_keys_of_a_study_file_and_the_files_it_writes(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    keys = ("title", "question", "config", "seeds", "baseline", "margin", "learning_rates")
    for name in (*keys, "label", "overrides", "grid", "controls", "study.html", "failed.json"):
        assert name in text


def test_a_dry_run_lists_cells_with_their_status_and_writes_nothing(file, tmp_path, capsys):
    workdir = tmp_path / "runs"
    put_cells(workdir, {"none": [80.0]})
    before = sorted(workdir.rglob("*"))
    flags = ("--dry-run", "--seeds=2", "--arms=fd_cmkd")
    assert command_line.main([str(file), f"--workdir={workdir}", *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "done    none, seed 0",
        "missing fd_cmkd, seed 0",
        "missing none, seed 1",
        "missing fd_cmkd, seed 1",
        "1 of 4 cells are done.",
    ]
    assert sorted(workdir.rglob("*")) == before


def test_another_config_and_values_replace_those_of_the_file(file, tmp_path, capsys):
    flags = ("--config=configs/ave.py:smoke", "--set=data.data_dir=data", "--set=data.generated=2")
    study = studies.read(file).on(Path("configs/ave.py"), "smoke", {"data.data_dir": "data"})
    assert study.title.endswith(": ave")
    assert study.arms["none"].presets == "smoke,none"
    config = config_of(study, Cell("none", 0), tmp_path)
    assert (config.data.name, config.data.data_dir) == ("ave", "data")
    assert config.data.spectrogram == "small"
    assert command_line.main([str(file), f"--workdir={tmp_path}", *flags, "--dry-run"]) == 0
    assert "cells are done" in capsys.readouterr().out
    message = fails(capsys, file, f"--workdir={tmp_path}", "--set=data.size=2", "--dry-run")
    assert "unknown config key in data.size" in message
    message = fails(capsys, file, f"--workdir={tmp_path}", "--set=seed", "--dry-run")
    assert "an option is KEY=VALUE, got 'seed'" in message


def test_help_shows_the_name_of_the_command(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--help"], prog="fdcmkd-jax study")
    shown = capsys.readouterr().out
    assert shown.startswith("usage: fdcmkd-jax study ")
    assert "fdcmkd-jax study studies/controls.toml" in shown
    assert "python -m" not in shown


def test_named_arms_are_run_with_the_baseline(toy):
    assert {cell.arm for cell in chosen_cells(toy, ["fd_cmkd"])} == {"none", "fd_cmkd"}
