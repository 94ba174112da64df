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
    return ClassMaps(labels, random.integers(0, count, SIZE).astype(np.uint8))


def model(teacher, seed):
    return Model("image", teacher, {}, [], [], None, maps=maps(seed))


def test_a_row_shows_labels_and_every_models_predictions():
    models = [model(None, 0), model("audio", 1)]
    figure = class_maps.draw(models, ["wall", "floor", "other"])
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert len(pictures) == class_maps.IMAGES * 3
    colors = class_maps.class_colors(3)
    np.testing.assert_array_equal(pictures[0][0], np.ones((10, 3)))  # Ignored: white.
    np.testing.assert_array_equal(pictures[0][1:], colors[models[0].maps.label_map[0, 1:]])
    np.testing.assert_array_equal(pictures[2], colors[models[1].maps.predicted_map[0]])
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["labels", models[0].label, models[1].label]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["wall", "floor", "other"]


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
    assert sum("one column per model: teacher image." in text for text in alternatives) == 1


def page_of(workdir):
    return report.write(workdir).read_text(encoding="utf-8")
