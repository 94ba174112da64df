"""Evaluation and selection by the task's metrics."""

import json

import ml_collections
import numpy as np
import pytest
import sklearn.metrics
from builders import NUM_CLASSES
from run_files import quick, rows

from fdcmkd_jax import experiment
from fdcmkd_jax.training import evaluation

WEIGHTS = [0.5, 1.0, 4.0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that is selected by macro F1 and trained with class weights, and its results."""
    workdir = tmp_path_factory.mktemp("macro")
    config = quick()
    config.task = ml_collections.ConfigDict(
        {"name": "classification", "class_weights": WEIGHTS, "primary": "macro_f1"}
    )
    return workdir, experiment.run(config, workdir)


def test_the_primary_metric_selects(run):
    workdir, results = run
    for folder, entry in (
        ("teachers/audio", results["teachers"]["audio"]),
        ("students/audio-to-image", results["students"]["audio->image"]),
    ):
        scores = {row["step"]: row["macro_f1"] for row in rows(workdir / folder, "val")}
        assert scores[entry["selected_step"]] == max(scores.values()) == entry["val"]["macro_f1"]
        assert entry["selection"] == "highest val macro F1 of main"


def test_results_name_their_metrics_and_hold_those_of_the_stored_predictions(run):
    workdir, results = run
    assert results["metrics"]["primary"] == "macro_f1"
    assert results["metrics"]["labels"]["macro_f1"] == "macro F1"
    entry = results["students"]["audio->image"]
    with np.load(workdir / "students/audio-to-image/test.npz") as examples:
        labels, predictions = examples["labels"], examples["predictions"]
    keywords = {"labels": range(NUM_CLASSES), "zero_division": 0}
    expected = sklearn.metrics.f1_score(labels, predictions, average="macro", **keywords)
    assert entry["test"]["macro_f1"] == pytest.approx(expected)
    by_class = sklearn.metrics.recall_score(labels, predictions, average=None, **keywords)
    np.testing.assert_allclose(entry["by_class"]["recall"], by_class)
    confusion = sklearn.metrics.confusion_matrix(labels, predictions, labels=range(NUM_CLASSES))
    np.testing.assert_array_equal(entry["confusion"], confusion)


def test_the_report_shows_the_primary_metric(run):
    page = (run[0] / "report.html").read_text(encoding="utf-8")
    assert "macro F1 on the test split" in page


def test_training_rows_keep_the_progress_of_the_task(run):
    row = rows(run[0] / "students/audio-to-image", "train")[-1]
    assert 0 <= row["accuracy"] <= 1
    assert "progress" not in row
    config = json.loads((run[0] / "config.json").read_text())
    assert config["task"]["class_weights"] == WEIGHTS


def test_the_best_head_is_that_of_the_primary_metric_and_the_first_if_tied():
    heads = {
        "main": {"accuracy": 0.5, "macro_f1": 0.4},
        "low": {"accuracy": 0.4, "macro_f1": 0.5},
        "high": {"accuracy": 0.5, "macro_f1": 0.5},
    }
    names = ("main", "low", "high", "absent")
    assert evaluation.best_head(heads, names, "accuracy") == "main"
    assert evaluation.best_head(heads, names, "macro_f1") == "low"
