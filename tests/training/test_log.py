"""The log of a run."""

import subprocess
import sys

from fdcmkd_jax.training.log import Log

WRITE = """
import pathlib, sys
from fdcmkd_jax.training.log import Log
folder = pathlib.Path(sys.argv[1])
with Log(folder, folder / "events", title="model", start=0, total=1, active=True) as log:
    log.write({"split": "train", "step": 1, "loss": 0.5})
print("torch" in sys.modules, len(list((folder / "events").iterdir())))
"""


def test_writing_events_does_not_load_pytorch(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", WRITE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "1"]


def test_writing_events_leaves_a_loaded_pytorch_alone(tmp_path):
    import torch

    with Log(tmp_path, tmp_path / "events", title="model", start=0, total=1, active=True):
        assert sys.modules["torch"] is torch
