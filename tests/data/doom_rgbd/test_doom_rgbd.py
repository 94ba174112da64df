"""Doom-RGBD, rendered by the engine."""

import sys

import numpy as np
import pytest

from fdcmkd_jax import data
from fdcmkd_jax.data.doom_rgbd import render
from fdcmkd_jax.registry import ConfigError

SMALL = {"maps": 5, "views": 6, "crop": (48, 64)}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("doom")


@pytest.fixture(scope="session")
def dataset(folder):
    return data.make("doom_rgbd", data_dir=folder, seed=0, **SMALL)


@pytest.fixture(scope="session")
def views():
    return list(render.render("map02", 8, seed=0))


def test_the_same_seed_gives_the_same_bytes_and_another_others(views):
    again = list(render.render("map02", 8, seed=0))
    assert [view.number for view in again] == [view.number for view in views]
    for one, other in zip(views, again, strict=True):
        for name in ("image", "depth", "labels"):
            np.testing.assert_array_equal(getattr(one.frame, name), getattr(other.frame, name))
    redrawn = next(render.render("map02", 8, seed=1))
    assert np.any(redrawn.frame.image != views[0].frame.image)


def test_rendering_writes_nothing_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    next(render.render("map02", 8, seed=0))
    assert list(tmp_path.iterdir()) == []


def test_views_have_depth_and_classes_in_sensible_places(views):
    labels = np.stack([view.frame.labels for view in views])
    depth = np.stack([view.frame.depth for view in views])
    assert labels.shape == depth.shape == (len(views), *render.SIZE)
    assert (labels.dtype, depth.dtype) == (np.uint8, np.uint16)
    horizon = render.SIZE[0] // 2
    assert not np.any(labels[:, horizon:] == render.CLASSES.index("ceiling"))
    assert not np.any(labels[:, :horizon] == render.CLASSES.index("floor"))
    assert labels.max() < len(render.CLASSES)
    # The floor comes nearer towards the lower edge of a view.
    floor = labels == render.CLASSES.index("floor")
    lower, upper = floor.copy(), floor.copy()
    lower[:, : horizon + 30], upper[:, horizon + 30 :] = False, False
    assert depth[lower].mean() < depth[upper].mean()


def test_a_view_that_shows_little_is_left_out(views):
    for view in views:
        counts = np.bincount(view.frame.labels.ravel())
        assert counts.max() <= 0.9 * view.frame.labels.size
        assert np.count_nonzero(counts) >= 3


def test_maps_are_split_whole(dataset):
    maps = {
        name: {number // SMALL["views"] + 1 for number in split.index.ids.tolist()}
        for name, split in dataset.splits.items()
    }
    assert maps == {"train": {2, 3, 4}, "val": {1}, "test": {5}}
    example = dataset.first_example()
    assert example["label"].shape == render.SIZE
    inputs = {
        modality: dataset.preprocessing[modality].function(
            {name: x[None] for name, x in example[modality].items()}
        )
        for modality in dataset.modalities
    }
    assert {name: x.shape for name, x in inputs.items()} == {
        "image": (1, *render.SIZE, 3),
        "depth": (1, *render.SIZE, 1),
    }
    cropped = dataset.transform(dataset.splits["train"][0], np.random.default_rng(0), ("image",))
    assert cropped["label"].shape == (48, 64)


def test_records_are_read_again_without_the_engine(dataset, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    again = data.make("doom_rgbd", data_dir=folder, seed=5, **SMALL)
    for name, split in again.splits.items():
        np.testing.assert_array_equal(split.index.ids, dataset.splits[name].index.ids)
    with pytest.raises(ConfigError, match=r"vizdoom, which is not installed\. Run: pip install"):
        data.make("doom_rgbd", data_dir=folder, seed=0, maps=5, views=7)


@pytest.mark.parametrize("options", [{"maps": 4}, {"maps": 33}, {"views": 0}, {"render_seed": -1}])
def test_a_bad_number_is_refused(folder, options):
    with pytest.raises(ConfigError, match="maps must be 5 to 32, views positive and render_seed"):
        data.make("doom_rgbd", data_dir=folder, seed=0, **options)
