"""The examples outside the package: their code is run as a user would run it."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from fdcmkd_jax.cli import train

ROOT = Path(__file__).parents[1]
LOOP = ROOT / "examples" / "plain_optax.py"
CONFIG = ROOT / "examples" / "two_view_digits" / "config.py"

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_the_plain_loop_trains_teacher_and_student_in_under_60_lines():
    lines = [line for line in LOOP.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) < 60
    result = subprocess.run([sys.executable, LOOP], capture_output=True, text=True, check=True)
    accuracies = [float(number) for number in re.findall(r": ([\d.]+) %", result.stdout)]
    assert len(accuracies) == 2
    assert min(accuracies) > 70


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("presets", "student_model", "terms"),
    [
        ("", "views:function_net", {"task", "log_feature"}),
        ("fd_cmkd,nnx", "views:nnx_net", {"task", "low", "high", "align", "auxiliary"}),
    ],
)
def test_own_data_models_and_method_are_trained_by_the_command(
    presets, student_model, terms, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # The modules lie beside the config file.
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    status = train.main(
        [
            f"--config={CONFIG}:{presets}" if presets else f"--config={CONFIG}",
            f"--workdir={tmp_path / 'run'}",
            "--config.teacher.num_epochs=2",
            "--config.train.num_epochs=2",
            "--config.evaluate.batch_size=96",
        ]
    )
    assert status == 0
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["models"]["right"]["name"] == student_model
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert 0 < results["students"]["left->right"]["test"]["accuracy"] <= 1
    log = (tmp_path / "run/students/left-to-right/metrics.jsonl").read_text().splitlines()
    assert set(json.loads(log[0])["terms"]) == terms
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_data_set_is_1797_pairs_of_two_halves():
    digits = runpy.run_path(str(CONFIG.with_name("views.py")))["digits"]
    dataset = digits(data_dir=Path("unused"), seed=3)
    assert sum(len(split) for split in dataset.splits.values()) == 1797
    ids = [int(example["id"]) for split in dataset.splits.values() for example in split]
    assert len(set(ids)) == 1797
    assert dataset.splits["train"][0]["left"].shape == (8, 4, 1)
