"""Toy runs on two devices, and the files they leave."""

import importlib
import json
from pathlib import Path

import chex
import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
import pytest
from builders import NUM_CLASSES, toy_config, toy_data, toy_net

from fdcmkd_jax import data, experiment
from fdcmkd_jax.training import log
from fdcmkd_jax.training.devices import Devices

TOY_RUN = Path(__file__).with_name("toy_run.py")
BUILD_MODULE = importlib.import_module("fdcmkd_jax.config.build")  # Not the function.
TOTAL = 10  # Steps of a toy model: two epochs of five batches.


def use_devices(patch, count):
    patch.setattr(
        BUILD_MODULE, "Devices", lambda parallel: Devices(parallel, jax.devices()[:count])
    )


class CountingSplit(list):
    """A split that counts how often it was read."""

    reads = 0

    def __getitem__(self, index):
        CountingSplit.reads += 1
        return super().__getitem__(index)


def counting_data(*, data_dir: Path, seed: int, size: int = 44):
    """The toy data, whose test split counts how often it is read."""
    dataset = toy_data(data_dir=data_dir, seed=seed, size=size)
    splits = {**dataset.splits, "test": CountingSplit(dataset.splits["test"])}
    return dataset._replace(splits=splits)


def make_reference(workdir):
    """Makes an uninterrupted run; writes how often the test split was read into ``reads.json``."""
    before = CountingSplit.reads
    with pytest.MonkeyPatch.context() as patch:
        use_devices(patch, 2)
        patch.setitem(data.TABLE, "counting", counting_data)
        experiment.run(toy_config(**{"data.name": "counting"}), workdir)
    # Further runs in this workdir read the same data under their usual name.
    settings = json.loads((workdir / "config.json").read_text())
    settings["data"]["name"] = toy_config().data.name
    (workdir / "config.json").write_text(json.dumps(settings))
    (workdir / "reads.json").write_text(json.dumps(CountingSplit.reads - before))


def make_alone(workdir):
    """Makes an uninterrupted run of one direction."""
    with pytest.MonkeyPatch.context() as patch:
        use_devices(patch, 2)
        config = toy_config(directions=("audio->image",))
        experiment.run(config, workdir, with_report=False)


def untimed_rows(folder):
    """The rows of a model's log without the one number that depends on time."""
    rows = log.read_rows(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "waiting_for_data"} for row in rows]


def rows(folder, split):
    return [row for row in log.read_rows(folder / "metrics.jsonl") if row["split"] == split]


def arrays(folder, step):
    """Everything saved at a step."""
    with ocp.StandardCheckpointer() as checkpointer:
        return {
            part: checkpointer.restore((folder / "checkpoints" / str(step) / part).absolute())
            for part in ("weights", "training")
        }


def assert_same_model(actual, expected, total=TOTAL):
    """The same bits in every file two runs left of one model, and in their last checkpoints."""
    assert untimed_rows(actual) == untimed_rows(expected)
    chex.assert_trees_all_equal(arrays(actual, total), arrays(expected, total))
    with np.load(actual / "test.npz") as one, np.load(expected / "test.npz") as two:
        for name in two.files:
            np.testing.assert_array_equal(one[name], two[name])
    one, two = (json.loads((path / "results.json").read_text()) for path in (actual, expected))
    one.pop("seconds"), two.pop("seconds")
    assert one == two


def quick(**changes):
    """One teacher, one student without distillation."""
    config = toy_config(directions=("audio->image",))
    config.method = ml_collections.ConfigDict({"name": "none"})
    config.weights = ml_collections.ConfigDict({"task": 1.0})
    config.update_from_flattened_dict(changes)
    return config


class Cut(Exception):
    """Stands for whatever ends a process."""


def audio_shapes():
    """The shapes of the weights of a model that reads audio."""
    model = toy_net(NUM_CLASSES)
    like = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jax.numpy.zeros((1, 6, 4, 1)), train=False)
    )
    return {name: like[name] for name in ("params", "batch_stats")}


def arrays_of(folder, step):
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore((folder / "checkpoints" / str(step) / "weights").absolute())
