"""Tests of the page of a made-up run, with and without missing parts."""

import json
import shutil

import numpy as np
import pytest
from run_builders import HEADS, Tags, make_run, write_json

from fdcmkd_jax import report


def written(workdir) -> str:
    return report.write(workdir).read_text(encoding="utf-8")


def test_nothing_is_fetched_or_executed(page):
    for tag, attributes in Tags(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "form")
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page
    assert "url(" not in page


def test_every_figure_has_alternative_text_and_a_caption(page):
    tags = Tags(page).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 4 + 1 + 1 + 1 + 1  # Curves of four models, then one a section.
    assert all(len(image["alt"]) > 20 for image in images)
    assert [tag for tag, _ in tags].count("figure") == 5
    assert [tag for tag, _ in tags].count("figcaption") == 5


def test_every_model_and_head_is_named(page):
    text = Tags(page).text
    for name in ("teacher audio", "teacher image"):
        assert name in text
    for name in ("student audio → image", "student image → audio"):
        assert name in text
    assert all(text.count(head) == 2 for head in HEADS)


def test_the_summary_compares_with_the_model_trained_alone(page):
    assert (
        "The image student taught by audio reaches 75.0 % accuracy on the test split; the image "
        "model trained alone, the other direction's teacher, reaches 50.0 % (+25.0 points)."
    ) in Tags(page).text


def test_numbers_carry_units_and_one_decimal(page):
    text = Tags(page).text
    assert "62.5 %" in text  # The last step.
    assert "37.5 %" in text  # A head on the test split.
    assert "12 s" in text


def test_further_metrics_and_those_of_each_class_are_tables(page):
    tags, text = Tags(page).tags, " ".join(Tags(page).text.split())
    assert "model accuracy macro F1 student audio → image 75.0 % 70.0 %" in text
    assert ("details", {"open": None}) in tags
    assert "zero 0.0 0.0 0.0 0.0 one 50.0 50.0" in text


def test_many_classes_are_folded(tmp_path):
    make_run(tmp_path, class_names=list("abcdefghijklm"), directions=(), modalities=("audio",))
    assert ("details", {}) in Tags(written(tmp_path)).tags


@pytest.mark.usefixtures("undrawn")
def test_another_primary_metric_heads_the_tables(tmp_path):
    make_run(tmp_path, directions=("audio->image",))
    results = json.loads((tmp_path / "results.json").read_text())
    results["metrics"]["primary"] = "macro_f1"
    write_json(tmp_path / "results.json", results)
    text = " ".join(Tags(written(tmp_path)).text.split())
    assert "validationmacro F1 test macro F1,selected step" in text
    assert "reaches 70.0 % macro F1 on the test split" in text


@pytest.mark.usefixtures("undrawn")
def test_a_task_that_stores_no_features_has_no_map(tmp_path):
    make_run(tmp_path, directions=("audio->image",))
    np.savez(tmp_path / "teachers" / "audio" / "test.npz", id=np.arange(3))
    text = Tags(written(tmp_path)).text
    assert "teacher audio has no features in test.npz" in text


def test_the_limits_of_a_single_run_are_stated(page):
    text = Tags(page).text
    assert "no interval" in text
    assert "regularization" in text


def test_configuration_and_environment_are_shown(page):
    text = " ".join(Tags(page).text.split())
    for shown in ("cutoff 0.5", "jax 1.2.3", "cpu:0", "python train.py <workdir>"):
        assert shown in text


def test_writing_again_gives_the_same_page(finished, page):
    assert written(finished) == page


def test_a_teacher_without_curves(tmp_path):
    make_run(tmp_path, directions=("image->audio",))
    (tmp_path / "teachers" / "audio" / "metrics.jsonl").unlink()
    text = Tags(written(tmp_path)).text
    assert "No curves of teacher audio" in text
    assert "No curves of teacher image" not in text


@pytest.mark.usefixtures("undrawn")
def test_a_teacher_without_a_folder(tmp_path):
    make_run(tmp_path)
    shutil.rmtree(tmp_path / "teachers" / "audio")
    text = Tags(written(tmp_path)).text
    assert "No band similarity" in text
    assert "No map of student audio → image: teacher audio has no features in test.npz." in text


@pytest.mark.usefixtures("undrawn")
def test_a_teacher_of_an_earlier_run(tmp_path):
    make_run(tmp_path)
    (tmp_path / "teachers" / "audio" / "metrics.jsonl").unlink()
    results = json.loads((tmp_path / "results.json").read_text())
    results["teachers"]["audio"]["loaded_from"] = "elsewhere"
    write_json(tmp_path / "results.json", results)
    text = Tags(written(tmp_path)).text
    assert "No curves of teacher audio: it was loaded from an earlier run." in text


@pytest.mark.usefixtures("undrawn")
def test_teachers_of_different_width(tmp_path):
    make_run(tmp_path, widths={"audio": 8, "image": 12})
    text = Tags(written(tmp_path)).text
    assert "teacher audio: 8, teacher image: 12" in text
    assert "channels permuted" not in text


@pytest.mark.usefixtures("undrawn")
def test_examples_in_another_order_give_the_same_similarity(finished, page, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "teachers" / "image"
    with np.load(folder / "test.npz") as old:
        reverse = {key: old[key][::-1] for key in old.files}
    np.savez(folder / "test.npz", **reverse)
    assert Tags(written(tmp_path)).text == Tags(page).text


@pytest.mark.usefixtures("undrawn")
def test_one_direction_with_its_teacher_only(tmp_path):
    make_run(tmp_path, modalities=("audio",), directions=("audio->image",))
    text = Tags(written(tmp_path)).text
    assert "this run has no image model trained alone" in text
    assert "compares two teachers" in text


@pytest.mark.usefixtures("undrawn")
def test_three_modalities(tmp_path):
    make_run(tmp_path, modalities=("audio", "image", "text"), directions=("text->audio",))
    text = Tags(written(tmp_path)).text
    for pair in ("audio and teacher image", "audio and teacher text", "image and teacher text"):
        assert f"teacher {pair}, 18 examples" in text


@pytest.mark.usefixtures("undrawn")
def test_teachers_alone(tmp_path):
    make_run(tmp_path, directions=())
    text = Tags(written(tmp_path)).text
    assert "The audio model, trained alone, reaches 50.0 % accuracy" in text


def test_more_classes_than_colors_or_labels(tmp_path):
    names = [f"class {index}" for index in range(31)]
    make_run(tmp_path, class_names=names, modalities=("audio",), directions=("audio->image",))
    text = Tags(written(tmp_path)).text
    assert "31 classes" in text
    assert text.count("class 30") == 1  # In the table by class, and in no figure's legend.


def test_names_are_text_and_never_markup(tmp_path):
    names = ("<script>alert(1)</script>", "$\\frac$", "_hidden & \"quoted'")
    config = {"data": {"name": "<script>", "note": "<img src=x onerror=alert(1)>"}}
    make_run(tmp_path, class_names=names, config=config, directions=("audio->image",))
    html_text = written(tmp_path)
    assert "<script" not in html_text
    assert "onerror=alert(1)&gt;" in html_text
    assert names[0] in Tags(html_text).text


@pytest.mark.usefixtures("undrawn")
def test_selection_on_the_test_split_is_a_caveat(tmp_path):
    make_run(tmp_path, config={"evaluate": {"select_split": "test"}})
    assert "test results are optimistic" in Tags(written(tmp_path)).text


@pytest.mark.usefixtures("undrawn")
def test_terms_without_gradient_norms_are_said_not_to_be_measured(tmp_path):
    make_run(tmp_path, directions=("audio->image",))
    path = tmp_path / "students" / "audio-to-image" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.get("gradient_norms", {}).pop("high", None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = Tags(written(tmp_path)).text
    assert "student audio → image: the gradient norm of high is not measured" in text
