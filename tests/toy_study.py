"""The config file of the toy studies. Each process that loads it knows the toy data and backbone.

none     no teacher
broken   names a method that does not exist
die      ends the process that trains, as the system does to one that takes too much memory
"""

import os
import signal
import sys
from pathlib import Path

import ml_collections

sys.path.insert(0, str(Path(__file__).parent))
from toy import toy_config, toy_data, toy_net

from fdcmkd_jax import data, models


def dying_data(*, data_dir: Path, seed: int) -> None:
    del data_dir, seed
    os.kill(os.getpid(), signal.SIGKILL)


data.TABLE["toy"] = toy_data
data.TABLE["dying"] = dying_data
models.TABLE["toy_net"] = toy_net


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    short = {"teacher.num_epochs": 1, "train.num_epochs": 1}
    config = toy_config(**short, directions=("audio->image",))
    for preset in filter(None, presets.split(",")):
        if preset == "none":
            config.method = ml_collections.ConfigDict({"name": "none"})
            config.weights = ml_collections.ConfigDict({"task": 1.0})
        elif preset == "broken":
            config.method.name = "fd_cmk"
        elif preset == "die":
            config.data.name = "dying"
        else:
            raise ValueError(f"unknown preset {preset!r}; known: broken, die, none.")
    return config
