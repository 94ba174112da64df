"""Stored teacher outputs: files, checks, and training with them."""

import io

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from builders import NUM_CLASSES, toy_config, toy_data
from safetensors.numpy import save_file

from fdcmkd_jax import experiment
from fdcmkd_jax.data.pairing import View
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import stored_features
from fdcmkd_jax.training.teacher_cache import TaughtSource

WIDTH = 5


def outputs_of(source, width=WIDTH):
    """Stored outputs of a split: random features, logits that are right, ids in another order."""
    random = np.random.default_rng(0)
    examples = [source[row] for row in range(len(source))][::-1]
    labels = np.array([example["label"] for example in examples])
    return {
        "id": np.array([example["id"] for example in examples]),
        "features": random.normal(size=(len(examples), width)).astype(np.float32),
        "logits": 5 * np.eye(NUM_CLASSES, dtype=np.float32)[labels],
    }


def write_array_record(path, arrays):
    """One record per example, each an .npz."""
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for row in range(len(arrays["id"])):
        buffer = io.BytesIO()
        np.savez(buffer, **{name: rows[row] for name, rows in arrays.items()})
        writer.write(buffer.getvalue())
    writer.close()


WRITERS = {
    ".npz": lambda path, arrays: np.savez(path, **arrays),
    ".safetensors": lambda path, arrays: save_file(arrays, path),
    ".array_record": write_array_record,
}


@pytest.fixture(scope="module")
def train():
    """The training split of the toy data."""
    return toy_data(data_dir=None, seed=0).splits["train"]


@pytest.mark.parametrize("suffix", stored_features.SUFFIXES)
def test_a_file_of_each_kind_is_read_as_written(tmp_path, train, suffix):
    arrays = outputs_of(train)
    path = tmp_path / f"audio{suffix}"
    WRITERS[suffix](path, arrays)
    stored = stored_features.load(path, num_classes=NUM_CLASSES)
    np.testing.assert_array_equal(stored.ids, arrays["id"])
    np.testing.assert_array_equal(stored.features, arrays["features"])
    np.testing.assert_array_equal(stored.logits, arrays["logits"])


def test_a_source_finds_the_outputs_of_each_example_by_its_id(tmp_path, train):
    arrays = outputs_of(train)
    np.savez(tmp_path / "audio.npz", **arrays)
    stored = stored_features.load(tmp_path / "audio.npz", num_classes=NUM_CLASSES)
    rows = {"audio": stored_features.StoredRows(train, stored)}
    source = TaughtSource(train, rows, leave_out=("audio",))
    assert len(source) == len(train)
    for row in (0, 17, len(train) - 1):
        example = source[row]
        (place,) = np.flatnonzero(arrays["id"] == train[row]["id"])
        features = example["teacher"]["audio"]["features"]
        np.testing.assert_array_equal(features, arrays["features"][place])
        assert "audio" not in example
        np.testing.assert_array_equal(example["image"], train[row]["image"])


def test_where_pairs_are_broken_the_outputs_are_the_partners(tmp_path, train):
    arrays = outputs_of(train)
    np.savez(tmp_path / "audio.npz", **arrays)
    stored = stored_features.load(tmp_path / "audio.npz", num_classes=NUM_CLASSES)
    view = View(train, kind="mismatched", seed=3)
    rows = stored_features.StoredRows(view, stored)
    for row in range(len(view)):
        (place,) = np.flatnonzero(arrays["id"] == view[row]["partner"]["id"])
        np.testing.assert_array_equal(rows[row]["features"], arrays["features"][place])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "lacks the array 'id'"),
        ({"features": None}, "lacks the array 'features'"),
        ({"id": np.zeros(44, np.int64)}, "id repeats 43 values"),
        ({"id": np.zeros(44, np.float32)}, "id must be whole numbers"),
        ({"features": np.zeros((43, 5), np.float32)}, r"M = 44, got \[43, 5\]"),
        ({"features": np.zeros(44, np.float32)}, r"got \[44\]"),
        ({"features": np.full((44, 5), np.nan, np.float32)}, "features must be finite"),
        ({"logits": np.zeros((44, 7), np.float32)}, r"\[44, 3\].*got \[44, 7\]"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, train, change, message):
    arrays = {**outputs_of(train), **change}
    arrays = {name: rows for name, rows in arrays.items() if rows is not None}
    np.savez(tmp_path / "audio.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        stored_features.load(tmp_path / "audio.npz", num_classes=NUM_CLASSES)


@pytest.mark.parametrize("suffix", stored_features.SUFFIXES)
def test_a_broken_file_is_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"audio{suffix}"
    path.write_bytes(b"not what it says")
    with pytest.raises(ConfigError, match=f"cannot read .*audio{suffix}"):
        stored_features.load(path, num_classes=NUM_CLASSES)


def test_pickled_arrays_are_refused(tmp_path):
    path = tmp_path / "audio.npz"
    np.savez(path, id=np.array([{}], dtype=object), features=np.zeros((1, 2)))
    with pytest.raises(ConfigError, match="cannot read"):
        stored_features.load(path, num_classes=NUM_CLASSES)


def test_a_missing_file_and_an_unknown_suffix_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no stored teacher features at"):
        stored_features.load(tmp_path / "audio.npz", num_classes=NUM_CLASSES)
    with pytest.raises(ConfigError, match=r"must end in \.npz"):
        stored_features.load(tmp_path / "audio.pkl", num_classes=NUM_CLASSES)


def stored_config(path, **changes):
    """A run of one student whose teacher is a file; no model reads the teacher's modality."""
    config = toy_config(**changes)
    config.directions = ("text->image",)
    del config.models["audio"]
    config.teacher.features = {"text": str(path)}
    return config


def test_a_run_learns_from_stored_outputs_of_a_modality_the_data_lack(tmp_path, train):
    np.savez(tmp_path / "text.npz", **outputs_of(train))
    config = stored_config(
        tmp_path / "text.npz",
        method={"name": "kd", "temperature": 4.0},
        weights={"task": 1.0, "divergence": 1.0},
    )
    results = experiment.run(config, tmp_path / "run")
    assert results["teachers"] == {}
    assert list(results["students"]) == ["text->image"]
    assert (tmp_path / "run" / "report.html").is_file()
    again = experiment.run(config, tmp_path / "run")
    assert again == results


@pytest.mark.parametrize(
    ("method", "weights", "drop", "message"),
    [
        ({"name": "kd"}, {"divergence": 1.0}, "logits", "may need logits"),
        ({"name": "fitnet", "stage": "stage2"}, {"feature": 1.0}, "", "maps|stage"),
        (
            {"name": "c2kd", "stage": "stage2"},
            {"teacher": 1.0, "teacher_proxy": 1.0, "student_proxy": 1.0, "exchange": 1.0},
            "",
            "trains the teacher|maps",
        ),
    ],
)
def test_a_method_that_needs_more_than_is_stored_is_refused(
    tmp_path, train, method, weights, drop, message
):
    arrays = {name: rows for name, rows in outputs_of(train).items() if name != drop}
    np.savez(tmp_path / "text.npz", **arrays)
    config = stored_config(tmp_path / "text.npz", method=method, weights={"task": 1.0, **weights})
    with pytest.raises(ConfigError, match=message):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_missing_training_examples_are_named_before_anything_is_trained(tmp_path, train):
    arrays = {name: rows[:-3] for name, rows in outputs_of(train).items()}
    np.savez(tmp_path / "text.npz", **arrays)
    with pytest.raises(ConfigError, match="lacks 3 of 44 training examples"):
        experiment.run(stored_config(tmp_path / "text.npz"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_direction_cannot_mix_stored_and_running_teachers(tmp_path, train):
    np.savez(tmp_path / "text.npz", **outputs_of(train))
    config = stored_config(tmp_path / "text.npz", directions=("text+image->image",))
    config.directions = ("text+image->image",)
    config.method = {"name": "multi_teacher", "method": {"name": "mse"}}
    config.weights = {"task": 1.0, "feature": 1.0}
    with pytest.raises(ConfigError, match="mixes teachers with stored features"):
        experiment.run(config, tmp_path / "run")
