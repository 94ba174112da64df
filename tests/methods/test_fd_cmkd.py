"""FD-CMKD: distances of bands, and options of the split."""

import golden_numbers as golden
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from builders import init_fn, terms_fn
from method_cases import STUDENT_WIDTH, TEACHER_WIDTH, K, compiled, outputs, set_up, term_gradients
from oracles import HALF

from fdcmkd_jax import losses, methods
from fdcmkd_jax.frequency import SoftCutoff
from fdcmkd_jax.registry import ConfigError


@pytest.mark.parametrize("name", ["fd_cmkd", "mse"])
def test_equal_widths_need_no_linear_map(name):
    _, params, *_ = set_up(name, {}, student_width=TEACHER_WIDTH)
    assert params["adapter"] == {}


@pytest.mark.parametrize(("name", "term"), [("fd_cmkd", "low"), ("mse", "feature")])
def test_a_narrower_or_wider_student_is_mapped_to_the_teachers_width(name, term):
    method, params, student, teacher, shown = set_up(name, {})
    adapter = params["adapter"]
    assert adapter["kernel"].shape == (STUDENT_WIDTH, TEACHER_WIDTH)
    np.testing.assert_array_equal(adapter["bias"], np.zeros(TEACHER_WIDTH))
    mapped = student.replace(features=student.features @ adapter["kernel"])
    expected = terms_fn(method)({**params, "adapter": {}}, mapped, teacher, shown)[term]
    actual = compiled(terms_fn(method))(params, student, teacher, shown)[term]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_kernels_start_as_untruncated_xavier_normals_and_biases_as_zeros():
    wide = outputs(0, 300)
    params = init_fn(methods.fd_cmkd())(jax.random.key(0), wide, outputs(1, 200), K)
    kernel = params["adapter"]["kernel"]
    # 60,000 numbers: the deviation is shown to 0.3 %, the share of 4.55 % to 0.1 %.
    deviation = (2 / (300 + 200)) ** 0.5
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.02)
    np.testing.assert_allclose(np.mean(np.abs(kernel) > 2 * deviation), 0.0455, atol=0.005)
    for group in ("align", "auxiliary"):
        for band in ("low", "high"):
            np.testing.assert_array_equal(params[group][band]["bias"], np.zeros(K))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fd_cmkd", {"cutoff": 1.5}, r"method 'fd_cmkd': cutoff must lie inside \(0, 1\), got 1.5"),
        ("fd_cmkd", {"reduction": "max"}, "method 'fd_cmkd': reduction must be 'mean' or 'sum'"),
        (
            "fd_cmkd",
            {"normalize": "l2"},
            "normalize must be 'band', 'before', 'rms' or 'none', got",
        ),
        ("fd_cmkd", {"low_loss": "l1"}, "low_loss must be 'mse', 'log_mse' or 'none', got 'l1'"),
        ("fd_cmkd", {"high_loss": "l1"}, "high_loss must be 'mse', 'log_mse' or 'none', got 'l1'"),
        ("fd_cmkd", {"basis": "dst"}, "basis must be 'dft', .*, 'learned' or 'none', got 'dst'"),
        (
            *("fd_cmkd", {"basis": "learned", "soft_cutoff": True}),
            "a soft cutoff needs the basis 'dft' or 'dct', got 'learned'",
        ),
    ],
)
def test_a_bad_value_is_refused_before_training(name, options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make(name, **options)


KEPT_MEAN = [{"basis": basis} for basis in ("dft", "dct", "haar", "random", "learned")]


def test_a_teacher_is_needed():
    with pytest.raises(ValueError, match="fd_cmkd needs a teacher's features"):
        init_fn(methods.fd_cmkd())(jax.random.key(0), outputs(0, STUDENT_WIDTH), None, K)


def test_epsilon_bounds_the_norm_of_every_band_from_below():
    method, params, student, teacher, shown = set_up(
        "fd_cmkd", {"epsilon": 100.0}, student_width=TEACHER_WIDTH
    )
    terms = compiled(terms_fn(method))(params, student, teacher, shown)
    expected = losses.frequency_distances(student.features, teacher.features, epsilon=100.0)
    for band in ("low", "high"):
        np.testing.assert_allclose(terms[band], expected[band], rtol=1e-6)


def test_low_and_high_are_the_frequency_distances():
    method, params, student, teacher, shown = set_up(
        "fd_cmkd", {"cutoff": 0.25, "reduction": "sum"}, student_width=TEACHER_WIDTH
    )
    terms = terms_fn(method)(params, student, teacher, shown)
    expected = losses.frequency_distances(
        student.features, teacher.features, cutoff=0.25, reduction="sum"
    )
    for band in ("low", "high"):
        np.testing.assert_allclose(terms[band], expected[band], rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"basis": "dct", "cutoff": 0.25},
        {"basis": "haar", "normalize": "before"},
        {"basis": "random", "basis_seed": 3, "low_loss": "log_mse"},
        {"normalize": "rms", "high_loss": "mse"},
        {"normalize": "none", "low_loss": "none"},
    ],
    ids=str,
)
def test_options_of_the_frequency_distances_reach_them(options):
    method, params, student, teacher, shown = set_up(
        "fd_cmkd", {**options, "shared_heads": False}, student_width=TEACHER_WIDTH
    )
    terms = compiled(terms_fn(method))(params, student, teacher, shown)
    expected = losses.frequency_distances(student.features, teacher.features, **options)
    assert set(terms) == {*expected, "auxiliary"}
    for band, value in expected.items():
        np.testing.assert_allclose(terms[band], value, rtol=1e-5, err_msg=band)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"low_loss": "none"}, ("high", "align", "auxiliary")),
        ({"high_loss": "none"}, ("low", "align", "auxiliary")),
        ({"low_loss": "none", "high_loss": "none"}, ("align", "auxiliary")),
        ({"basis": "none"}, ("feature", "align", "auxiliary")),
        ({"basis": "none", "low_loss": "none", "shared_heads": False}, ("auxiliary",)),
    ],
    ids=str,
)
def test_a_band_without_a_loss_has_no_name_to_give_a_weight(options, names):
    assert methods.make("fd_cmkd", **options).names == names


def test_without_a_split_or_a_scale_the_features_are_matched_as_by_mse():
    options = {"basis": "none", "normalize": "none"}
    method, params, *batch = set_up("fd_cmkd", options)
    plain, *_ = set_up("mse", {})
    expected = terms_fn(plain)({"adapter": params["adapter"]}, *batch)["feature"]
    actual = compiled(terms_fn(method))(params, *batch)["feature"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("options", [*KEPT_MEAN, {"soft_cutoff": True}], ids=str)
def test_a_kept_mean_is_read_by_the_low_heads_and_by_nothing_else(options):
    method, params, student, *rest = set_up("fd_cmkd", options, student_width=TEACHER_WIDTH)
    kept = methods.make("fd_cmkd", keep_dc=True, **options)
    plain, changed = method.heads(params, student), kept.heads(params, student)
    for group in ("align", "auxiliary"):
        np.testing.assert_array_equal(changed[f"{group}_high"], plain[f"{group}_high"])
        assert np.all(changed[f"{group}_low"] != plain[f"{group}_low"])
    terms, expected = (terms_fn(variant)(params, student, *rest) for variant in (kept, method))
    for band in ("low", "high"):
        np.testing.assert_allclose(terms[band], expected[band], rtol=1e-5, err_msg=band)


def test_without_a_scale_the_kept_mean_counts_in_the_low_distance_alone():
    options = {"keep_dc": True, "normalize": "none"}
    method, params, student, *rest = set_up("fd_cmkd", options, student_width=TEACHER_WIDTH)
    raised = student.replace(features=student.features + 3.0)
    before, after = (terms_fn(method)(params, outputs, *rest) for outputs in (student, raised))
    assert np.all(np.abs(after["low"] - before["low"]) > 1)
    np.testing.assert_allclose(after["high"], before["high"], rtol=1e-4)


def test_a_learned_split_is_one_span_for_both_models_trained_by_every_term():
    method, params, *batch = set_up("fd_cmkd", {"basis": "learned"}, student_width=TEACHER_WIDTH)
    assert params["basis"].shape == (TEACHER_WIDTH, 4)  # Bins 1 and 2 of the DFT.
    student, teacher, _ = batch
    terms = compiled(terms_fn(method))(params, *batch)
    expected = losses.frequency_distances(student.features, teacher.features, basis=params["basis"])
    for band, value in expected.items():
        np.testing.assert_allclose(terms[band], value, rtol=1e-5, err_msg=band)
    for term, gradient in term_gradients(method, params, batch).items():
        assert np.all(gradient["basis"] != 0), term


@pytest.mark.parametrize("cutoff", [0.25, 0.5])
@pytest.mark.parametrize("basis", ["dft", "dct"])
def test_a_soft_cutoff_starts_at_the_given_one_and_is_trained_by_every_term(basis, cutoff):
    options = {"basis": basis, "soft_cutoff": True, "cutoff": cutoff}
    method, params, *batch = set_up("fd_cmkd", options, student_width=TEACHER_WIDTH)
    student, teacher, _ = batch
    terms = compiled(terms_fn(method))(params, *batch)
    expected = losses.frequency_distances(
        *(student.features, teacher.features), basis=basis, cutoff=SoftCutoff(cutoff, 20.0)
    )
    for band, value in expected.items():
        np.testing.assert_allclose(terms[band], value, rtol=1e-4, err_msg=band)
    for term, gradient in term_gradients(method, params, batch).items():
        assert all(value != 0 for value in gradient["cutoff"].values()), term


@pytest.mark.parametrize("options", [{"basis": "learned"}, {"soft_cutoff": True}], ids=str)
def test_training_the_split_leaves_the_start_of_everything_else_unchanged(options):
    _, plain, *_ = set_up("fd_cmkd", {})
    _, params, *_ = set_up("fd_cmkd", options)
    assert len(params) == len(plain) + 1
    for group, value in plain.items():
        jax.tree.map(np.testing.assert_array_equal, params[group], value)


def test_gradients_reach_the_teachers_outputs_for_the_step_to_stop():
    method, params, student, teacher, shown = set_up("fd_cmkd", {})

    def total(teacher):
        terms = terms_fn(method)(params, student, teacher, shown)
        return sum(jnp.sum(term) for term in terms.values())

    assert np.any(jax.jit(jax.grad(total))(teacher).features != 0)


def test_the_low_distance_passes_no_gradient_to_the_high_band_of_the_student():
    method, params, student, teacher, shown = set_up("fd_cmkd", {}, student_width=TEACHER_WIDTH)

    def low(features):
        shifted = student.replace(features=features)
        return jnp.sum(terms_fn(method)(params, shifted, teacher, shown)["low"])

    gradient = jax.jit(jax.grad(low))(student.features)
    assert np.any(gradient != 0)
    high = oracles.bands(gradient, HALF)[1]
    np.testing.assert_allclose(high, np.zeros(gradient.shape), atol=1e-7)


@pytest.mark.parametrize("band", ["low", "high"])
def test_frequency_distances_and_the_fd_cmkd_method(band):
    entry = f"fdcmkd_{band}"
    x = golden.inputs(entry)
    method = methods.make("fd_cmkd", shared_heads=False, auxiliary_heads=False)

    def by_function(student):
        return losses.frequency_distances(student, x["teacher_feat"])[band]

    def by_method(student):
        teacher = golden.outputs(features=x["teacher_feat"])
        return terms_fn(method)(
            {"adapter": {}}, golden.outputs(features=student), teacher, golden.targets(2)
        )[band]

    golden.check(entry, by_function, x["student_feat"])
    golden.check(entry, by_method, x["student_feat"])
