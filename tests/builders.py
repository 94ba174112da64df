"""A data set and backbones small enough to train in a test, made from nothing but a seed."""

import functools
import runpy
from collections.abc import Callable
from pathlib import Path

import ml_collections
import numpy as np

from fdcmkd_jax.data.base import Dataset
from fdcmkd_jax.methods import Method
from fdcmkd_jax.models.resnet import ResNet

NUM_CLASSES = 3


def toy_data(*, data_dir: Path, seed: int, size: int = 44) -> Dataset:
    """Noisy patterns by class in two modalities of unlike shapes."""
    del data_dir
    random = np.random.default_rng(7)
    patterns = {"audio": random.normal(size=(NUM_CLASSES, 6, 4, 1))}
    patterns["image"] = random.normal(size=(NUM_CLASSES, 8, 8, 2))

    def split(name: str, length: int) -> list[dict]:
        noise = np.random.default_rng([seed, len(name)])
        return [
            {
                "label": np.int32(row % NUM_CLASSES),
                "id": np.int32(1000 * len(name) + row),
                **{
                    key: (pattern[row % NUM_CLASSES] + noise.normal(size=pattern.shape[1:])).astype(
                        np.float32
                    )
                    for key, pattern in patterns.items()
                },
            }
            for row in range(length)
        ]

    splits = {"train": split("train", size), "val": split("val", 21), "test": split("test", 27)}
    return Dataset(("audio", "image"), ("a", "b", "c"), splits)


def toy_net(num_classes: int, width: int = 8, axis_name: str | None = None) -> ResNet:
    """A residual network of two blocks."""
    return ResNet(
        num_classes=num_classes,
        widths=(4, width),
        strides=(1, 2),
        depths=(1, 1),
        stem_width=4,
        axis_name=axis_name,
    )


def digits_config(presets: str = "") -> ml_collections.ConfigDict:
    """The config of the demo, with presets."""
    path = Path(__file__).parents[1] / "configs" / "av_digits.py"
    return runpy.run_path(str(path))["get_config"](presets)


def toy_config(**changes: object) -> ml_collections.ConfigDict:
    """Two directions, five steps an epoch, two epochs."""
    config = ml_collections.ConfigDict(
        {
            "seed": 0,
            "data": {"name": "builders:toy_data"},
            "input": {"batch_size": 8},
            "pairing": {},
            "task": {"name": "classification"},
            "directions": ("audio->image", "image->audio"),
            "models": {
                "audio": {"name": "builders:toy_net"},
                "image": {"name": "builders:toy_net"},
            },
            "teacher": {"num_epochs": 2, "checkpoints": {"audio": "", "image": ""}},
            "method": {"name": "fd_cmkd"},
            "weights": {"task": 1.0, "align": 1.0, "auxiliary": 1.0, "low": 10.0, "high": 10.0},
            "optim": {"learning_rate": 0.05},
            "train": {"num_epochs": 2, "log_every_steps": 2},
            "evaluate": {"every_epochs": 1, "batch_size": 16},
            "checkpoint": {"every_seconds": 0.0, "every_steps": 2},
        }
    )
    config.update_from_flattened_dict(changes)
    return config


@functools.cache
def terms_fn(method: Method) -> Callable:
    """The terms of a method as a function of params, student, teacher and targets, without memory.

    The same function for the same method, so that it is compiled once.
    """

    def terms(params, student, teacher, targets):
        return method.terms(params, {}, student, teacher, targets)[0]

    return terms


def init_fn(method: Method) -> Callable:
    """The parameters of a method as a function of key, student, teacher and number of classes."""
    return lambda *arguments: method.init(*arguments)[0]
