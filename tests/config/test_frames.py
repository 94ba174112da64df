"""Configs of frames whose pixels are labelled, and a run of one."""

import json
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from config_files import MODULES

from fdcmkd_jax import config as configs
from fdcmkd_jax import data, experiment
from fdcmkd_jax.registry import ConfigError

NYU, DOOM = MODULES["nyu_depth_v2.py"], MODULES["doom_rgbd.py"]


@pytest.fixture(scope="session")
def doom_records(tmp_path_factory):
    """Records of a few views."""
    folder = tmp_path_factory.mktemp("doom_records")
    data.make("doom_rgbd", data_dir=folder, seed=0, maps=5, views=6)
    return folder


@pytest.fixture
def doom(doom_records):
    """Makes a config of a few views."""

    def make(presets=""):
        config = DOOM["get_config"](",".join(filter(None, ["tiny", presets])))
        config.data.update(data_dir=str(doom_records), views=6)
        return config

    return make


@pytest.mark.parametrize("presets", ["", *DOOM["PRESETS"], "none", "mse", "dist", "mismatched"])
def test_every_preset_for_maps_builds(presets, doom, tmp_path):
    plan = configs.build(configs.resolve(doom(presets)), tmp_path)
    assert plan.method.dense
    assert plan.context.task.primary == "mean_iou"


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ("rkd", "it needs one prediction per example, .* methods that accept this: cirkd, dist, "),
        ("c2kd", "it needs one prediction per example"),
        ("shuffled", "kind 'shuffled' needs one label per example, but this data set labels every"),
        ("relabelled", "kind 'relabelled' needs one label per example"),
    ],
)
def test_what_assumes_one_label_per_example_is_refused_in_one_line(
    presets, message, doom, tmp_path
):
    with pytest.raises(ConfigError, match=message) as caught:
        configs.build(configs.resolve(doom(presets)), tmp_path)
    assert "\n" not in str(caught.value)


def test_hidden_labels_are_refused_in_one_line(doom, tmp_path):
    config = doom()
    config.pairing.labelled_per_class = 3
    with pytest.raises(ConfigError, match="labelled_per_class needs one label per example"):
        configs.build(configs.resolve(config), tmp_path)


@pytest.mark.parametrize("presets", ["smoke", "smoke,classes13"])
def test_nyus_whole_path_builds_from_generated_frames(presets, tmp_path):
    config = NYU["get_config"](presets)
    config.data.update(data_dir=str(tmp_path / "data"), generated=24, validation=0.3)
    config.input.batch_size = 8
    plan = configs.build(configs.resolve(config), tmp_path / "run")
    assert plan.context.task.num_classes == (13 if "13" in presets else 40)
    assert set(plan.models) == {"depth", "image"}


def test_a_run_selects_by_miou_and_stores_small_maps(doom, tmp_path):
    config = doom()
    config.directions = ("image->depth",)
    small = {"name": "dense_nets:dense_net"}
    config.models = ml_collections.ConfigDict({"depth": small, "image": small})
    config.teacher.num_epochs, config.train.num_epochs = 0, 1
    results = experiment.run(config, tmp_path)
    entry = results["students"]["image->depth"]
    assert entry["selection"] == "highest val mIoU of main"
    with np.load(Path(tmp_path, "students/image-to-depth/test.npz")) as stored:
        labels, predicted = stored["label_map"], stored["predicted_map"]
        assert stored["features"].shape == (len(labels), 8)
    # Views are small enough to be stored whole.
    confusion = np.array(entry["confusion"])
    np.testing.assert_array_equal(
        confusion, np.bincount(labels.ravel() * 6 + predicted.ravel(), minlength=36).reshape(6, 6)
    )
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    expected = np.mean((np.diag(confusion) / np.maximum(union, 1))[union > 0])
    assert entry["test"]["mean_iou"] == pytest.approx(expected, rel=1e-12)
    rows = Path(tmp_path, "students/image-to-depth/metrics.jsonl").read_text().splitlines()
    row = next(row for row in map(json.loads, rows) if row["split"] == "train")
    assert {"low", "high", "task"} == set(row["terms"])
    assert 0 <= row["pixel_accuracy"] <= 1
