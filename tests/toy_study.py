"""The config file of the toy studies.

Presets:

none     trains without a teacher
broken   has a cutoff out of range
die      ends the process that trains, as the system does to one that takes too much memory
"""

import os
import signal
import sys
from pathlib import Path

import ml_collections

sys.path.insert(0, str(Path(__file__).parent))  # For `builders` and the names in the config.
from builders import toy_config


def dying_data(*, data_dir: Path, seed: int) -> None:
    del data_dir, seed
    os.kill(os.getpid(), signal.SIGKILL)


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    short = {"teacher.num_epochs": 1, "train.num_epochs": 1}
    config = toy_config(**short, directions=("audio->image",))
    for preset in filter(None, presets.split(",")):
        if preset == "none":
            config.method = ml_collections.ConfigDict({"name": "none"})
            config.weights = ml_collections.ConfigDict({"task": 1.0})
        elif preset == "broken":
            config.method.cutoff = 1.5
        elif preset == "die":
            config.data.name = "toy_study:dying_data"
        else:
            raise ValueError(f"unknown preset {preset!r}; known: broken, die, none.")
    return config
