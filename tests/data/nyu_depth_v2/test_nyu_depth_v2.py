"""NYU-Depth V2, from files as MATLAB writes them."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import io

from fdcmkd_jax import data
from fdcmkd_jax.data.__main__ import main
from fdcmkd_jax.data.nyu_depth_v2.classes import CLASSES_13, CLASSES_40, TO_13, table_of_40
from fdcmkd_jax.data.nyu_depth_v2.files import FRAMES, MAPPING, SPLITS, LabeledFrames
from fdcmkd_jax.data.nyu_depth_v2.generate import generate
from fdcmkd_jax.data.rgbd import records
from fdcmkd_jax.data.rgbd.stages import IGNORED
from fdcmkd_jax.registry import ConfigError

COUNT, SIZE = 18, (20, 26)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """Generated frames in the official layout."""
    return generate(tmp_path_factory.mktemp("nyu"), COUNT, size=SIZE)


@pytest.fixture
def folder(original, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture(scope="session")
def prepared(original, tmp_path_factory):
    """A folder of records."""
    folder = tmp_path_factory.mktemp("records")
    load(folder, manual_dir=str(original))
    return folder


def load(data_dir, **options):
    options = {"crop": (16, 16), "validation": 0.2, **options}
    return data.make("nyu_depth_v2", data_dir=data_dir, seed=0, **options)


def test_the_file_begins_as_matlabs_does_and_has_its_axes(original):
    start = (original / FRAMES).read_bytes()[:520]
    assert start.startswith(b"MATLAB 7.3 MAT-file, Platform")
    assert start[512:].startswith(b"\x89HDF")
    with h5py.File(original / FRAMES) as file:
        assert file["images"].shape == (COUNT, 3, *SIZE[::-1])
        assert file["scenes"].shape == (1, COUNT)


def test_the_table_of_classes_is_as_measured():
    table = table_of_40()
    assert table.shape == (895,)
    assert np.bincount(table).tolist() == [1] * 38 + [68, 82, 707]
    assert [int(table[raw]) for raw in (21, 11, 157, 5, 83, 55, 8, 12, 1)] == (
        [1, 2, 4, 5, 6, 37, 38, 39, 40]
    )
    assert (len(CLASSES_40), len(CLASSES_13), len(TO_13), set(TO_13)) == (40, 13, 40, {*range(13)})
    for name in ("wall", "floor", "bed", "ceiling", "books", "window", "picture"):
        assert CLASSES_13[TO_13[CLASSES_40.index(name)]] == name


def test_frames_are_turned_and_labels_mapped(original):
    frames = LabeledFrames(str(original), hha=False)
    with h5py.File(original / FRAMES) as file:
        images, depths, labels = (file[name][3] for name in ("images", "depths", "labels"))
    frame = frames.read(3)
    assert frame.image.shape == (*SIZE, 3)
    assert frame.image[5, 7].tolist() == images[:, 7, 5].tolist()
    assert frame.depth[5, 7] == round(float(depths[7, 5]) * 1000)
    expected = {0: 255, 21: 0, 11: 1, 3: 2, 157: 3, 5: 4}
    assert frame.labels[5, 7] == expected[int(labels[7, 5])]
    assert set(np.unique(frame.labels)) <= set(expected.values())
    assert np.all(frame.labels[:2] == IGNORED)


def test_splits_count_from_one_and_validation_takes_whole_scenes(prepared):
    dataset = load(prepared)
    assert dataset.class_names == CLASSES_40
    ids = {name: split.index.ids.tolist() for name, split in dataset.splits.items()}
    assert ids["test"] == [12, 13, 14, 15, 16, 17]
    assert sorted(ids["train"] + ids["val"]) == list(range(12))
    # Two frames a scene.
    assert {number // 2 for number in ids["train"]}.isdisjoint(number // 2 for number in ids["val"])
    again = load(prepared)
    assert again.splits["val"].index.ids.tolist() == ids["val"]
    example = dataset.first_example()
    assert example["label"].shape == SIZE
    depth = dataset.preprocessing["depth"].function({"depth": example["depth"]["depth"][None]})
    assert (depth.shape, 0.05 < float(depth.mean()) < 1) == ((1, *SIZE, 1), True)
    random = np.random.default_rng(0)
    cropped = dataset.transform(dataset.splits["train"][0], random, dataset.modalities)
    assert cropped["image"]["pixels"].shape == (16, 16, 3)


def test_thirteen_classes_are_made_of_the_same_records(prepared):
    forty, thirteen = load(prepared), load(prepared, classes=13)
    assert thirteen.class_names == CLASSES_13
    labels = forty.first_example()["label"], thirteen.first_example()["label"]
    known = labels[0] != IGNORED
    np.testing.assert_array_equal(labels[1][known], np.array(TO_13)[labels[0][known]])
    np.testing.assert_array_equal(labels[1][~known], IGNORED)


def test_encoded_depth_is_the_users(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"lacks HHA.*this package does not"):
        load(tmp_path, manual_dir=str(folder), depth="hha")
    (folder / "HHA").mkdir()
    for number in range(COUNT):
        pixels = np.full((*SIZE, 3), number, np.uint8)
        (folder / "HHA" / f"{number}.png").write_bytes(records.to_png(pixels))
    dataset = load(tmp_path, manual_dir=str(folder), depth="hha")
    example = dataset.transform(dataset.splits["test"][0], None, ("depth",))
    assert np.all(example["depth"]["pixels"] == 12)
    assert dataset.preprocessing["depth"].inputs == {"pixels": ((*SIZE, 3), "uint8")}


def damage(folder):
    """Plants a defect of every kind."""
    with h5py.File(folder / FRAMES, "r+") as file:
        file["images"][0] = 40
        file["depths"][1, 2, 3] = np.nan
        file["depths"][2, 2, 3] = 40.0
        file["labels"][3, 4, 5] = 895
        file["labels"][4] = 0
    lists = io.loadmat(folder / SPLITS)
    train, test = (np.ravel(lists[name]).tolist() for name in ("trainNdxs", "testNdxs"))
    train.remove(12)
    io.savemat(folder / SPLITS, {"trainNdxs": [*train, 19], "testNdxs": [*test, 1]})
    io.savemat(folder / MAPPING, {"mapClass": np.ones((1, 894), np.uint8)})


def test_check_names_every_planted_defect(folder, capsys):
    damage(folder)
    assert main(["check", "nyu_depth_v2", "--option", f"manual_dir={folder}"]) == 1
    report = capsys.readouterr().out
    for line in (
        "1 blank pictures:\n    frame 1: every pixel is 40",
        "1 depth without a number:\n    frame 2:",
        "1 depth out of range:\n    frame 3: from",
        "1 unknown labels:\n    frame 4: 895, expected 0 to 894",
        "1 frames without labels:\n    frame 5:",
        "1 frames outside the file:\n    train, frame 19: the file holds frames 1 to 18",
        "1 frames listed twice:\n    test, frame 1: already in train",
        "1 frames in no split:\n    frame 12: neither lists it",
        "1 other mappings:\n    classMapping40.mat: differs",
        "train: 11 frames listed, 795 documented",
    ):
        assert line in report
    with pytest.raises(ConfigError, match=r"1 blank pictures .*data.strict refuses them"):
        load(folder / "records", manual_dir=str(folder), strict=True)


def test_defective_frames_are_left_out(folder, tmp_path):
    damage(folder)
    splits = load(tmp_path, manual_dir=str(folder)).splits
    ids = sorted(splits["train"].index.ids.tolist() + splits["val"].index.ids.tolist())
    assert ids == [5, 6, 7, 8, 9, 10]


def test_a_mapping_that_agrees_is_no_defect(folder):
    io.savemat(folder / MAPPING, {"mapClass": table_of_40()[None, 1:]})
    assert not LabeledFrames(str(folder), hha=False).mapping_differs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / SPLITS).unlink(), "lacks splits.mat; expected nyu_depth_v2_lab"),
        (lambda folder: (folder / SPLITS).write_bytes(b"no"), "cannot be read as a MATLAB file"),
        (lambda folder: io.savemat(folder / SPLITS, {"a": 1}), "lacks trainNdxs; expected"),
        (lambda folder: (folder / FRAMES).write_bytes(b"no"), "cannot be read as a MATLAB v7.3"),
        (lambda folder: remove(folder, "depths"), "depths must have shape .*no such variable"),
        (lambda folder: shutil.rmtree(folder), "there is no folder .*; expected nyu_depth"),
    ],
)
def test_files_of_another_layout_are_refused_in_one_line(folder, tmp_path, change, message):
    change(folder)
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path / "records", manual_dir=str(folder))
    assert "\n" not in str(caught.value)


def remove(folder, name):
    with h5py.File(folder / FRAMES, "r+") as file:
        del file[name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 41}, "classes must be 40 or 13"),
        ({"border": "cut"}, "border must be"),
        ({"validation": 0.0}, "validation must be a share that leaves frames in both parts"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_a_bad_option_is_refused(prepared, options, message):
    with pytest.raises(ConfigError, match=message):
        load(prepared, **options)
