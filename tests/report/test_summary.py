"""Tests of the sentences and tables of the report."""

import dataclasses

import pytest

from fdcmkd_jax.report import summary
from fdcmkd_jax.report.run import Metrics, Model, Run

METRICS = Metrics("macro_f1", {"accuracy": "accuracy", "macro_f1": "macro F1", "f1": "F1"})


def student(**config):
    entry = {"test": {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.75}}
    model = Model("image", "audio", entry, [], [], None)
    return Run({"weights": {"task": 1, "low": 10}} | config, {}, 0, [], METRICS, {}, [model])


def test_a_student_is_taught_by_its_teacher():
    assert "student taught by audio reaches" in summary.headline(student())[0]


def test_the_primary_metric_is_shown_under_its_name():
    sentence = summary.headline(student())[0]
    assert "reaches 75.0 % macro F1 on the test split" in sentence


def test_further_metrics_are_those_with_a_name():
    table = summary.further_metrics(student())
    assert table.heads == ["accuracy", "macro F1"]
    assert table.rows == [("student audio → image", ["50.0 %", "75.0 %"])]
    assert summary.further_metrics(dataclasses.replace(student(), students=[])) is None


def test_metrics_by_class_stand_side_by_side_for_each_model():
    entries = [{"by_class": {"f1": [0.5, shared], "new": [0.0, 1.0]}} for shared in (0.25, 1.0)]
    models = {
        name: Model(name, None, entry, [], [], None)
        for name, entry in zip(("audio", "image"), entries, strict=True)
    }
    table = summary.by_class(Run({}, {}, 0, ["a", "b"], METRICS, models, []))
    assert table.heads == ["F1", "new"]
    assert table.rows[1] == ("b", [["25.0", "100.0"], ["100.0", "100.0"]])
    assert summary.by_class(student()) is None


@pytest.mark.parametrize("weights", [{"task": 1}, {"task": 1, "auxiliary": 1, "low": 0}])
def test_without_a_weighted_distillation_term_a_student_is_trained_without_a_teacher(weights):
    sentence = summary.headline(student(weights=weights))[0]
    assert "student trained without a teacher reaches" in sentence


def test_broken_pairs_are_named_a_control():
    sentence = summary.headline(student(pairing={"kind": "mismatched"}))[0]
    assert "taught by audio on mismatched pairs (a control) reaches" in sentence


def test_hidden_labels_are_a_caveat():
    partly = student(pairing={"labelled_per_class": 20})
    assert "only 20 training pairs per class" in summary.caveats(partly)[-1]
    whole = student(pairing={"labelled_per_class": 0})
    assert summary.caveats(whole) == summary.caveats(student())


def test_a_head_that_decides_is_named():
    entry = {"selected_head": "auxiliary_low"}
    trained = Model("audio", None, entry, [], [], None)
    rows = summary.results(
        Run({}, {}, 0, [], METRICS, {"audio": trained}, []), {"teacher audio": "#000"}
    )
    assert rows[0].name == "teacher audio, head auxiliary_low"


def test_missing_numbers_are_shown_as_not_available():
    assert summary.percent(float("nan")) == summary.whole(float("nan")) == "n/a"
