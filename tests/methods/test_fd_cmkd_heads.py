"""FD-CMKD: heads on the bands."""

import golden_numbers as golden
import jax
import numpy as np
import oracles
import pytest
from builders import init_fn, terms_fn
from method_cases import HIDDEN, TEACHER_WIDTH, K, N, compiled, outputs, set_up, targets
from oracles import HALF

from fdcmkd_jax import methods


def classify(params, features, labels, *, band):
    """A head's cross-entropy in NumPy."""
    index = ("low", "high").index(band)
    split = oracles.bands(features, HALF)[index]
    logits = oracles.head(params[band]["kernel"], params[band]["bias"], split)
    return oracles.cross_entropy(logits, np.asarray(labels))


@pytest.mark.parametrize("rest", [(), (5,), (2, 3)], ids=["vector", "sequence", "map"])
def test_align_adds_the_cross_entropies_of_two_heads_on_both_models(rest):
    student, teacher = (outputs(seed, TEACHER_WIDTH, rest=rest) for seed in (0, 1))
    method = methods.fd_cmkd()
    params = init_fn(method)(jax.random.key(0), student, teacher, K)
    shown = targets(hidden=np.zeros(N, bool))
    expected = sum(
        classify(params["align"], np.asarray(model.features), shown.labels, band=band)
        for model in (student, teacher)
        for band in ("low", "high")
    )
    actual = compiled(terms_fn(method))(params, student, teacher, shown)["align"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("rest", [(), (5,), (2, 3)], ids=["vector", "sequence", "map"])
def test_auxiliary_adds_the_cross_entropies_of_the_students_own_heads(rest):
    student, teacher = (outputs(seed, TEACHER_WIDTH, rest=rest) for seed in (0, 1))
    method = methods.fd_cmkd()
    params = init_fn(method)(jax.random.key(0), student, teacher, K)
    expected = sum(
        classify(params["auxiliary"], np.asarray(student.features), targets().labels, band=band)
        for band in ("low", "high")
    )
    actual = compiled(terms_fn(method))(params, student, teacher, targets())["auxiliary"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_with_pseudo_labels_align_takes_the_teachers_prediction_where_the_label_is_hidden():
    method, params, student, teacher, shown = set_up("fd_cmkd", {"pseudo_labels": True})
    predicted = np.argmax(teacher.logits, -1)
    filled = targets(np.where(HIDDEN, predicted, shown.labels), hidden=np.zeros(N, bool))
    assert np.any(np.asarray(filled.labels) != np.asarray(shown.labels))
    actual = compiled(terms_fn(method))(params, student, teacher, shown)["align"]
    expected = compiled(terms_fn(method))(params, student, teacher, filled)["align"]
    np.testing.assert_array_equal(actual, expected)
    assert method.label_terms == {"auxiliary"}


def test_without_pseudo_labels_align_counts_only_shown_labels():
    method, params, student, teacher, shown = set_up("fd_cmkd", {"pseudo_labels": False})
    assert method.label_terms == {"align", "auxiliary"}
    with_pseudo, *_ = set_up("fd_cmkd", {"pseudo_labels": True})
    actual = compiled(terms_fn(method))(params, student, teacher, shown)["align"]
    expected = terms_fn(with_pseudo)(params, student, teacher, shown)["align"]
    np.testing.assert_array_equal(actual[~HIDDEN], expected[~HIDDEN])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"low", "high", "align", "auxiliary"}),
        ({"shared_heads": False}, {"low", "high", "auxiliary"}),
        ({"auxiliary_heads": False}, {"low", "high", "align"}),
        ({"shared_heads": False, "auxiliary_heads": False}, {"low", "high"}),
    ],
)
def test_each_group_of_heads_adds_its_term_its_parameters_and_its_reports(options, names):
    method, params, student, *_ = set_up("fd_cmkd", options)
    groups = names - {"low", "high"}
    assert set(method.names) == names
    assert set(params) == {"adapter", *groups}
    reported = {f"{group}_{band}" for group in groups for band in ("low", "high")}
    assert set(method.heads(params, student)) == reported
    assert method.label_terms == groups - {"align"}


@pytest.mark.parametrize(
    ("switch", "kept"), [("shared_heads", "auxiliary"), ("auxiliary_heads", "align")]
)
def test_switching_one_group_of_heads_off_leaves_the_others_start_unchanged(switch, kept):
    _, full, *_ = set_up("fd_cmkd", {})
    _, part, *_ = set_up("fd_cmkd", {switch: False})
    for group in (kept, "adapter"):
        jax.tree.map(np.testing.assert_array_equal, part[group], full[group])


def test_the_reported_heads_are_the_trained_ones():
    method, params, student, teacher, _ = set_up("fd_cmkd", {})
    shown = targets(hidden=np.zeros(N, bool))
    heads = method.heads(params, student)
    expected = shown.loss(heads["auxiliary_low"]) + shown.loss(heads["auxiliary_high"])
    actual = compiled(terms_fn(method))(params, student, teacher, shown)["auxiliary"]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    for band in ("low", "high"):
        np.testing.assert_array_equal(
            heads[f"align_{band}"],
            method.heads({**params, "auxiliary": params["align"]}, student)[f"auxiliary_{band}"],
        )


def test_without_a_split_one_head_reads_the_whole_feature_of_each_model():
    method, params, student, teacher, shown = set_up(
        "fd_cmkd", {"basis": "none", "pseudo_labels": False}, student_width=TEACHER_WIDTH
    )
    assert set(method.heads(params, student)) == {"align_feature", "auxiliary_feature"}
    expected = 0.0
    for model in (student, teacher):
        head = params["align"]["feature"]
        logits = oracles.head(head["kernel"], head["bias"], np.asarray(model.features))
        expected += oracles.cross_entropy(logits, np.asarray(shown.labels))
    actual = compiled(terms_fn(method))(params, student, teacher, shown)["align"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_the_low_head_reads_the_low_band_with_its_mean():
    method, params, student, *_ = set_up("fd_cmkd", {"keep_dc": True}, student_width=TEACHER_WIDTH)
    low = oracles.bands(student.features, HALF, keep_dc=True)[0]
    head = params["align"]["low"]
    expected = oracles.head(head["kernel"], head["bias"], low)
    np.testing.assert_allclose(
        method.heads(params, student)["align_low"], expected, rtol=1e-4, atol=1e-6
    )


# shared heads of golden
def test_the_shared_heads_of_fd_cmkd():
    x = golden.inputs("fdcmkd_align")
    heads = {
        band: {"kernel": x[f"{band}_kernel"], "bias": x[f"{band}_bias"]} for band in ("low", "high")
    }
    teacher = golden.outputs(features=x["teacher_feat"])
    method = methods.fd_cmkd(auxiliary_heads=False)

    def loss(student):
        params = {"adapter": {}, "align": heads}
        shown = golden.targets(2, x["labels"])
        return terms_fn(method)(params, golden.outputs(features=student), teacher, shown)["align"]

    golden.check("fdcmkd_align", loss, x["student_feat"])
