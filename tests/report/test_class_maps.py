"""Pictures of predicted classes."""

import numpy as np
from run_builders import Tags, make_run

from fdcmkd_jax import report
from fdcmkd_jax.report import class_maps
from fdcmkd_jax.report.run import ClassMaps, Model

SIZE = (6, 8, 10)


def maps(seed, count=3):
    random = np.random.default_rng(seed)
    labels = np.random.default_rng(9).integers(0, count, SIZE).astype(np.uint8)
    labels[:, 0] = 255
    picture = random.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    return ClassMaps(labels, random.integers(0, count, SIZE).astype(np.uint8), picture)


def model(teacher, seed):
    return Model("image", teacher, {}, [], [], None, maps=maps(seed))


def test_a_row_shows_input_labels_and_every_models_predictions():
    models = [model(None, 0), model("audio", 1)]
    figure = class_maps.draw(models, ["wall", "floor", "other"])
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert len(pictures) == class_maps.IMAGES * 4
    colors = class_maps.class_colors(3)
    np.testing.assert_array_equal(pictures[0], models[1].maps.picture[0])
    np.testing.assert_array_equal(pictures[1][0], np.ones((10, 3)))  # Ignored: white.
    np.testing.assert_array_equal(pictures[1][1:], colors[models[0].maps.label_map[0, 1:]])
    np.testing.assert_array_equal(pictures[3], colors[models[1].maps.predicted_map[0]])
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["image", "labels", "teacher\nimage", "student\naudio → image"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["wall", "floor", "other"]


def test_inputs_that_are_no_pictures_are_left_out():
    alone = Model("image", None, {}, [], [], None, maps=maps(0)._replace(picture=None))
    titles = [axes.get_title() for axes in class_maps.draw([alone], ["a", "b", "c"]).axes[:2]]
    assert titles == ["labels", "teacher\nimage"]


def test_a_bar_per_class_and_model():
    values = {"teacher image": [0.5, 0.25], "student audio → image": [0.75, 0.0]}
    colors = dict(zip(values, ("#112233", "#445566"), strict=True))
    figure = class_maps.class_bars(values, "IoU", ["wall", "floor"], colors)
    bars = figure.axes[0].patches
    assert [bar.get_height() for bar in bars] == [50, 25, 75, 0]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["wall", "floor"]


def test_many_classes_have_different_colors_and_no_legend():
    colors = class_maps.class_colors(40)
    assert len(np.unique(colors.round(6), axis=0)) == 41
    names = [f"class {k}" for k in range(40)]
    assert class_maps.draw([model(None, 0)], names).legends == []


def test_the_page_shows_them_where_pixels_were_predicted(tmp_path, undrawn):
    workdir = make_run(tmp_path)
    path = workdir / "teachers" / "image" / "test.npz"
    with np.load(path) as arrays:
        stored = dict(arrays)
    assert "Predictions on the test split" not in Tags(page_of(workdir)).text
    np.savez(path, **stored, **maps(0)._asdict())
    page = Tags(page_of(workdir))
    assert "Predictions on the test split" in page.text
    alternatives = [attributes.get("alt", "") for tag, attributes in page.tags if tag == "img"]
    # Beside each student that has it as its teacher, or as the model trained alone.
    assert sum("a column per model: teacher image." in text for text in alternatives) == 2


def page_of(workdir):
    return report.write(workdir).read_text(encoding="utf-8")
