import functools
import inspect
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from oracles import HALF

from fdcmkd_jax import losses, methods
from fdcmkd_jax.frequency import SoftCutoff
from fdcmkd_jax.tables import ConfigError
from fdcmkd_jax.types import Outputs, Targets

N, K, STUDENT_WIDTH, TEACHER_WIDTH = 4, 3, 12, 8
HIDDEN = np.array([False, True, False, True])
PADDED = np.array([True, True, True, False])  # Two devices hold unequal shares of it.

# Shapes by stage without N: the two models' maps differ in number, size and width.
MAPS = [
    {"stage1": (5, 4, 6), "stage2": (3, 2, 5), "stage3": (2, 2, 4)},
    {"stage1": (4, 4, 7), "stage2": (2, 2, 5), "stage3": (1, 1, 8), "stage4": (1, 1, 3)},
]

MADE_OF_OTHERS = ("join", "multi_teacher")  # These need to be told of which.

# Every method as it comes, and those whose options change its terms.
CASES = [(name, {}) for name in methods.names() if name not in MADE_OF_OTHERS] + [
    ("join", {"methods": {"fd_cmkd": {"cutoff": 0.25}, "mse": {}, "rkd": {}}}),
    ("join", {"methods": {"crd": {"negatives": 5}, "mse": {}}}),
    ("multi_teacher", {"method": {"name": "fd_cmkd"}, "gates": "learned"}),
    (
        "multi_teacher",
        {"method": {"name": "pkd", "stage": "stage1"}, "shares": {"a": 3.0, "b": 1.0}},
    ),
    ("multi_teacher", {"method": {"name": "crd", "negatives": 5}}),
    ("crd", {"negatives": 5, "size": 6}),
    ("c2kd", {"threshold": -1.0}),
    ("mgdfr", {"align_steps": 3}),
    ("mst", {"start_steps": 3, "mask_steps": 20, "size": 3}),
    ("mst", {"start_steps": 3, "mask_steps": 3, "size": 3, "balance": "cv"}),
    ("contrastive", {"targets": "smoothed"}),
    ("contrastive", {"targets": "low_band"}),
    ("feat", {"stage": "stage1"}),
    ("feat", {"regressor": False}),
    ("ofa", {"gamma": 1.5}),
    ("pkd", {"stage": "stage1"}),
    ("similarity", {"stage": "stage2"}),
    ("fd_cmkd", {"cutoff": 0.25, "reduction": "sum", "pseudo_labels": False}),
    ("fd_cmkd", {"shared_heads": False}),
    ("fd_cmkd", {"auxiliary_heads": False}),
    ("fd_cmkd", {"basis": "dct", "soft_cutoff": True}),
    ("fd_cmkd", {"basis": "haar", "normalize": "before"}),
    ("fd_cmkd", {"basis": "random", "normalize": "rms", "low_loss": "log_mse"}),
    ("fd_cmkd", {"basis": "learned", "high_loss": "none"}),
    ("fd_cmkd", {"basis": "none", "normalize": "none"}),
    ("fd_cmkd", {"keep_dc": True}),
]
each_case = pytest.mark.parametrize(
    ("name", "options"),
    CASES,
    ids=[
        "-".join([name, *(f"{k}={v}" for k, v in options.items() if k != "methods")])
        for name, options in CASES
    ],
)

each_memory = pytest.mark.parametrize(
    ("name", "options"),
    [case for case in CASES if methods.make(case[0], **case[1]).init_memory is not None],
    ids=str,
)


def outputs(seed, width, *, rest=()):
    rng = np.random.default_rng(seed)
    return Outputs(
        logits=jnp.asarray(rng.normal(size=(N, K)), jnp.float32),
        features=jnp.asarray(rng.normal(size=(N, *rest, width)), jnp.float32),
        maps={
            stage: jnp.asarray(rng.normal(size=(N, *shape)), jnp.float32)
            for stage, shape in MAPS[seed % 2].items()
        },
    )


def targets(labels=(0, 1, 2, 1), hidden=HIDDEN, mask=(True,) * N, ids=(12, 4, 7, 9)):
    return Targets(
        labels=jnp.asarray(labels, jnp.int32),
        labelled=jnp.asarray(~hidden),
        mask=jnp.asarray(mask),
        num_classes=K,
        label_loss=losses.cross_entropy,
        id=jnp.asarray(ids, jnp.int32),
    )


def everyone():
    """A training split in which the batch lies."""
    labels, ids = (2, 1, 0, 1, 0, 1, 2, 0, 2), (3, 4, 5, 6, 8, 9, 7, 12, 11)
    hidden = np.isin(ids, (4, 9))
    return targets(labels, hidden=hidden, mask=(True,) * len(ids), ids=ids)


def make(name, **options):
    """A method as `methods.make` builds it; one with a memory at its step 7, always."""
    method = methods.make(name, **options)
    if method.init_memory is None:
        return method

    def terms(params, *batch):
        with jax.ensure_compile_time_eval():
            zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params)
            memory = method.init_memory(jax.random.key(3), zeros, everyone())
            if "step" in memory:
                memory = {**memory, "step": jnp.int32(7)}
        return method.run(params, *batch, memory)[0]

    return method._replace(terms=terms)


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def set_up(name, options, *, student_width=STUDENT_WIDTH):
    """A method with its parameters, a student and a teacher of another width, and targets."""
    return _set_up(name, json.dumps(options), student_width)


@functools.cache
def _set_up(name, options, student_width):
    method = make(name, **json.loads(options))
    student, teacher = outputs(0, student_width), outputs(1, TEACHER_WIDTH)
    if method.several_teachers:
        teacher = {"a": teacher, "b": outputs(3, TEACHER_WIDTH)}
    params = method.init(jax.random.key(0), student, teacher, K)
    return method, params, student, teacher, targets()


# Compiled once for all tests: one by one the operations take seconds.
compiled = functools.cache(jax.jit)


def term_gradients(method, params, batch):
    """Each term's gradient in the method's own parameters."""

    def totals(params):
        return jax.tree.map(jnp.sum, method.terms(params, *batch))

    return jax.jit(jax.jacrev(totals))(params)


# Contract of every method


@each_case
@pytest.mark.parametrize("student_width", [STUDENT_WIDTH, TEACHER_WIDTH])
def test_terms_are_the_named_ones_with_one_float32_for_each_example(name, options, student_width):
    method, *arguments = set_up(name, options, student_width=student_width)
    terms = jax.eval_shape(method.terms, *arguments)
    assert sorted(terms) == sorted(method.names)
    assert len(set(method.names)) == len(method.names)
    for term in terms.values():
        assert (term.shape, term.dtype) == ((N,), jnp.float32)


@each_case
def test_terms_of_bfloat16_outputs_are_float32(name, options):
    method, params, student, teacher, known = set_up(name, options)
    student, teacher = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (student, teacher))
    terms = jax.eval_shape(method.terms, params, student, teacher, known)
    assert all(term.dtype == jnp.float32 for term in terms.values())


@each_case
def test_terms_that_read_labels_are_among_the_names(name, options):
    method = make(name, **options)
    assert method.label_terms <= set(method.names)
    assert "task" not in method.names  # that one is the task's


@each_case
def test_only_terms_that_read_labels_change_with_a_hidden_label(name, options):
    method, params, student, teacher, known = set_up(name, options)
    other = known.replace(labels=jnp.where(HIDDEN, (known.labels + 1) % K, known.labels))
    terms = compiled(method.terms)
    before, after = (terms(params, student, teacher, each) for each in (known, other))
    for term in method.names:
        if term in method.label_terms:
            same = np.asarray(before[term] == after[term])
            assert np.all(same[~HIDDEN]), term
            # Some leave examples out altogether.
            assert np.all(~same[HIDDEN] | (before[term][HIDDEN] == 0)), term
        else:
            np.testing.assert_array_equal(before[term], after[term], err_msg=term)


@each_case
def test_gradients_of_every_term_are_finite_for_any_outputs_and_for_zeros(name, options):
    method, params, student, teacher, known = set_up(name, options)

    @jax.jit
    def gradients(params, student, teacher):
        def total(params, student, term):
            return jnp.sum(method.terms(params, student, teacher, known)[term])

        return {term: jax.grad(total, (0, 1))(params, student, term) for term in method.names}

    for scale in (1.0, 0.0):
        scaled = optax.tree.scale(scale, (student, teacher))
        for term, trees in gradients(params, *scaled).items():
            for gradient in jax.tree.leaves(trees):
                assert np.isfinite(gradient).all(), (term, scale)


@each_case
def test_gradients_are_finite_where_student_and_teacher_agree(name, options):
    method = make(name, **options)
    student = outputs(0, STUDENT_WIDTH)
    same = {"a": student, "b": student} if method.several_teachers else student
    params = method.init(jax.random.key(0), student, same, K)

    @jax.jit
    @jax.grad
    def gradients(student, teacher):
        terms = method.terms(params, student, teacher, targets())
        return sum((jnp.sum(term) for term in terms.values()), start=jnp.zeros(()))

    for gradient in jax.tree.leaves(gradients(student, same)):
        assert np.isfinite(gradient).all()


@each_case
def test_padding_changes_no_other_example_and_gets_no_gradient(name, options):
    method, params, student, teacher, _ = set_up(name, options)
    padded = targets(mask=PADDED)

    @jax.jit
    def values_and_gradients(student, teacher):
        def total(student):
            terms = method.terms(params, student, teacher, padded)
            kept = {name: jnp.where(PADDED, term, 0) for name, term in terms.items()}
            return sum((jnp.sum(x) for x in kept.values()), start=jnp.zeros(())), kept

        return jax.value_and_grad(total, has_aux=True)(student)

    (_, before), gradients = values_and_gradients(student, teacher)
    other = jax.tree.map(lambda x: x.at[~PADDED].multiply(30), (student, teacher))
    (_, after), _ = values_and_gradients(*other)
    for term in method.names:
        np.testing.assert_allclose(before[term], after[term], rtol=1e-5, atol=1e-7, err_msg=term)
    for gradient in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(gradient[~PADDED], np.zeros(gradient[~PADDED].shape))


@each_case
def test_two_devices_with_uneven_padding_give_the_loss_and_gradients_of_one(name, options):
    _, params, student, teacher, _ = set_up(name, options)
    batch = (student, teacher, targets(mask=PADDED))

    def step(axis_name, params, student, teacher, known):
        method = make(name, axis_name=axis_name, **options)

        def everywhere(x):
            return jax.lax.psum(x, axis_name) if axis_name else x

        def losses_and_total(params, student):
            terms = method.terms(params, student, teacher, known)
            count = everywhere(jnp.sum(known.mask))
            means = {
                term: jnp.sum(jnp.where(known.mask, value, 0)) / count
                for term, value in terms.items()
            }
            # Weights that differ, so that no two terms' errors cancel.
            weighted = (weight * means[term] for weight, term in enumerate(method.names, 1))
            return sum(weighted, start=jnp.zeros(())), means

        by_both = jax.grad(losses_and_total, (0, 1), has_aux=True)
        (by_params, by_student), means = by_both(params, student)
        return everywhere((by_params, means)), by_student

    (by_params, means), by_student = jax.jit(functools.partial(step, None))(params, *batch)
    mapped = jax.pmap(
        functools.partial(step, "devices"),
        axis_name="devices",
        in_axes=(None, 0, 0, 0),
        out_axes=(None, 0),
        devices=jax.devices()[:2],
    )
    shares = jax.tree.map(lambda x: x.reshape(2, N // 2, *x.shape[1:]), batch)
    (by_params_2, means_2), by_student_2 = mapped(params, *shares)
    by_student_2 = jax.tree.map(lambda x: x.reshape(N, *x.shape[2:]), by_student_2)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, means_2, means)
    jax.tree.map(close, by_params_2, by_params)
    jax.tree.map(close, by_student_2, by_student)


@each_case
def test_permuting_the_batch_permutes_every_term(name, options):
    method, params, *batch = set_up(name, options)
    order = np.array([2, 0, 3, 1])
    terms = compiled(method.terms)
    expected = terms(params, *batch)
    actual = terms(params, *jax.tree.map(lambda x: x[order], batch))
    for term, value in actual.items():
        np.testing.assert_allclose(value, expected[term][order], rtol=1e-5, err_msg=term)


@each_case
def test_terms_are_the_same_without_jit(name, options):
    method, *arguments = set_up(name, options)
    expected = compiled(method.terms)(*arguments)
    for term, value in method.terms(*arguments).items():
        np.testing.assert_allclose(value, expected[term], rtol=1e-5, err_msg=term)


@each_case
def test_a_method_that_reads_the_teachers_maps_says_so(name, options):
    method, params, student, teacher, known = set_up(name, options)
    without = jax.tree.map(
        lambda each: each.replace(maps={}), teacher, is_leaf=lambda x: isinstance(x, Outputs)
    )
    if method.reads_teacher_maps:
        with pytest.raises((ConfigError, ValueError, KeyError)):
            method.terms(params, student, without, known)
    else:
        expected = compiled(method.terms)(params, student, teacher, known)
        actual = jax.jit(method.terms)(params, student, without, known)
        jax.tree.map(np.testing.assert_array_equal, actual, expected)


@each_case
def test_init_depends_on_the_key_and_on_shapes_alone(name, options):
    method, params, student, teacher, _ = set_up(name, options)
    again = method.init(jax.random.key(0), abstract(student), abstract(teacher), K)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    other = method.init(jax.random.key(1), student, teacher, K)
    drawn, another_draw = (
        [leaf for name in tree if name != "gate" for leaf in jax.tree.leaves(tree[name])]
        for tree in (params, other)
    )  # Gates start equal, which is at zero.
    for kernel, another in zip(drawn, another_draw, strict=True):
        if kernel.ndim > 1:
            assert np.all(kernel != another)


@each_case
def test_parameters_are_float32(name, options):
    _, params, *_ = set_up(name, options)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@each_case
def test_no_two_kernels_start_alike(name, options):
    _, params, *_ = set_up(name, options, student_width=TEACHER_WIDTH)
    kernels = [leaf.ravel() for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    for index, kernel in enumerate(kernels):
        assert not any(np.array_equal(kernel, other) for other in kernels[:index])


@each_memory
def test_a_memory_keeps_its_structure_and_is_equal_on_all_devices(name, options):
    _, params, student, teacher, _ = set_up(name, options)
    batch = (student, teacher, targets(mask=PADDED))
    memory = methods.make(name, **options).init_memory(jax.random.key(3), params, everyone())

    def after(axis_name, *batch):
        return methods.make(name, axis_name=axis_name, **options).run(params, *batch, memory)[1]

    one = jax.jit(functools.partial(after, None))(*batch)
    shares = jax.tree.map(lambda x: x.reshape(2, N // 2, *x.shape[1:]), batch)
    devices = jax.devices()[:2]
    mapped = jax.pmap(functools.partial(after, "devices"), axis_name="devices", devices=devices)
    first, second = (jax.tree.map(lambda x, at=at: x[at], mapped(*shares)) for at in (0, 1))
    chex.assert_trees_all_equal_shapes_and_dtypes(one, memory)
    chex.assert_trees_all_equal(first, second)
    chex.assert_trees_all_close(one, first, rtol=1e-5)
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(memory), strict=True)
    assert any(np.any(x != y) for x, y in leaves)


@each_memory
def test_a_memory_does_not_see_hidden_labels_or_padding(name, options):
    method = methods.make(name, **options)
    _, params, student, teacher, _ = set_up(name, options)
    padded = targets(mask=PADDED)
    split = everyone()
    others = split.replace(labels=jnp.where(split.labelled, split.labels, 0))
    key = jax.random.key(3)
    memories = [method.init_memory(key, params, each) for each in (split, others)]
    chex.assert_trees_all_equal(*memories)
    other = jax.tree.map(lambda x: x.at[~PADDED].multiply(30), (student, teacher))
    run = jax.jit(method.run)
    expected = run(params, student, teacher, padded, memories[0])[1]
    chex.assert_trees_all_close(run(params, *other, padded, memories[0])[1], expected, rtol=1e-5)


@each_case
def test_heads_classify_every_example_from_the_student_alone(name, options):
    method, params, student, *_ = set_up(name, options)
    heads = jax.eval_shape(method.heads, params, student)
    assert isinstance(heads, dict)
    for logits in heads.values():
        assert (logits.shape, logits.dtype) == ((N, K), jnp.float32)


@pytest.mark.parametrize("name", sorted({*methods.names()} - {*MADE_OF_OTHERS}))
def test_a_method_needs_no_option_and_documents_each_term(name):
    constructor = methods.TABLE[name]
    documentation = inspect.getdoc(constructor)
    for term in methods.make(name).names:
        assert f"    {term}: ``[N]``" in documentation


# The table


def test_names_are_sorted():
    assert list(methods.names()) == sorted(methods.TABLE)
    assert {"fd_cmkd", "logit", "mse", "none"} <= set(methods.names())


def test_a_misspelt_method_is_refused_with_the_nearest_name():
    message = r"^unknown method 'fdcmkd'; known: .*logit.*\. Did you mean 'fd_cmkd'\?$"
    with pytest.raises(ConfigError, match=message):
        methods.make("fdcmkd")


def test_a_misspelt_option_is_refused_with_the_nearest_name():
    message = r"^unknown option of method 'fd_cmkd': 'cut_off'; known: .* mean 'cutoff'\?$"
    with pytest.raises(ConfigError, match=message):
        methods.make("fd_cmkd", cut_off=0.5)


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
        ("logit", {"temperature": 0.0}, "method 'logit': temperature must be positive, got 0.0"),
    ],
)
def test_a_bad_value_is_refused_before_training(name, options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make(name, **options)


# Linear maps between widths


@pytest.mark.parametrize("name", ["fd_cmkd", "mse"])
def test_equal_widths_need_no_linear_map(name):
    _, params, *_ = set_up(name, {}, student_width=TEACHER_WIDTH)
    assert params["adapter"] == {}


@pytest.mark.parametrize(("name", "term"), [("fd_cmkd", "low"), ("mse", "feature")])
def test_a_narrower_or_wider_student_is_mapped_to_the_teachers_width(name, term):
    method, params, student, teacher, known = set_up(name, {})
    adapter = params["adapter"]
    assert adapter["kernel"].shape == (STUDENT_WIDTH, TEACHER_WIDTH)
    np.testing.assert_array_equal(adapter["bias"], np.zeros(TEACHER_WIDTH))
    mapped = student.replace(features=student.features @ adapter["kernel"])
    expected = method.terms({**params, "adapter": {}}, mapped, teacher, known)[term]
    actual = compiled(method.terms)(params, student, teacher, known)[term]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_kernels_start_as_untruncated_xavier_normals_and_biases_as_zeros():
    wide = outputs(0, 300)
    params = methods.fd_cmkd().init(jax.random.key(0), wide, outputs(1, 200), K)
    kernel = params["adapter"]["kernel"]
    # 60,000 numbers: the deviation is known to 0.3 %, the share of 4.55 % to 0.1 %.
    deviation = (2 / (300 + 200)) ** 0.5
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.02)
    np.testing.assert_allclose(np.mean(np.abs(kernel) > 2 * deviation), 0.0455, atol=0.005)
    for group in ("align", "auxiliary"):
        for band in ("low", "high"):
            np.testing.assert_array_equal(params[group][band]["bias"], np.zeros(K))


# fd_cmkd


def test_a_teacher_is_needed():
    with pytest.raises(ValueError, match="fd_cmkd needs a teacher's features"):
        methods.fd_cmkd().init(jax.random.key(0), outputs(0, STUDENT_WIDTH), None, K)


def test_epsilon_bounds_the_norm_of_every_band_from_below():
    method, params, student, teacher, known = set_up(
        "fd_cmkd", {"epsilon": 100.0}, student_width=TEACHER_WIDTH
    )
    terms = compiled(method.terms)(params, student, teacher, known)
    expected = losses.frequency_distances(student.features, teacher.features, epsilon=100.0)
    for band in ("low", "high"):
        np.testing.assert_allclose(terms[band], expected[band], rtol=1e-6)


def classify(params, features, labels, *, band):
    """A head's cross-entropy in NumPy."""
    index = ("low", "high").index(band)
    split = oracles.bands(features, HALF)[index]
    logits = oracles.head(params[band]["kernel"], params[band]["bias"], split)
    return oracles.cross_entropy(logits, np.asarray(labels))


def test_low_and_high_are_the_frequency_distances():
    method, params, student, teacher, known = set_up(
        "fd_cmkd", {"cutoff": 0.25, "reduction": "sum"}, student_width=TEACHER_WIDTH
    )
    terms = method.terms(params, student, teacher, known)
    expected = losses.frequency_distances(
        student.features, teacher.features, cutoff=0.25, reduction="sum"
    )
    for band in ("low", "high"):
        np.testing.assert_allclose(terms[band], expected[band], rtol=1e-6)


@pytest.mark.parametrize("rest", [(), (5,), (2, 3)], ids=["vector", "sequence", "map"])
def test_align_adds_the_cross_entropies_of_two_heads_on_both_models(rest):
    student, teacher = (outputs(seed, TEACHER_WIDTH, rest=rest) for seed in (0, 1))
    method = methods.fd_cmkd()
    params = method.init(jax.random.key(0), student, teacher, K)
    known = targets(hidden=np.zeros(N, bool))
    expected = sum(
        classify(params["align"], np.asarray(model.features), known.labels, band=band)
        for model in (student, teacher)
        for band in ("low", "high")
    )
    actual = compiled(method.terms)(params, student, teacher, known)["align"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("rest", [(), (5,), (2, 3)], ids=["vector", "sequence", "map"])
def test_auxiliary_adds_the_cross_entropies_of_the_students_own_heads(rest):
    student, teacher = (outputs(seed, TEACHER_WIDTH, rest=rest) for seed in (0, 1))
    method = methods.fd_cmkd()
    params = method.init(jax.random.key(0), student, teacher, K)
    expected = sum(
        classify(params["auxiliary"], np.asarray(student.features), targets().labels, band=band)
        for band in ("low", "high")
    )
    actual = compiled(method.terms)(params, student, teacher, targets())["auxiliary"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_with_pseudo_labels_align_takes_the_teachers_prediction_where_the_label_is_hidden():
    method, params, student, teacher, known = set_up("fd_cmkd", {"pseudo_labels": True})
    predicted = np.argmax(teacher.logits, -1)
    filled = targets(np.where(HIDDEN, predicted, known.labels), hidden=np.zeros(N, bool))
    assert np.any(np.asarray(filled.labels) != np.asarray(known.labels))
    actual = compiled(method.terms)(params, student, teacher, known)["align"]
    expected = compiled(method.terms)(params, student, teacher, filled)["align"]
    np.testing.assert_array_equal(actual, expected)
    assert method.label_terms == {"auxiliary"}


def test_without_pseudo_labels_align_counts_only_shown_labels():
    method, params, student, teacher, known = set_up("fd_cmkd", {"pseudo_labels": False})
    assert method.label_terms == {"align", "auxiliary"}
    with_pseudo, *_ = set_up("fd_cmkd", {"pseudo_labels": True})
    actual = compiled(method.terms)(params, student, teacher, known)["align"]
    expected = with_pseudo.terms(params, student, teacher, known)["align"]
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
    known = targets(hidden=np.zeros(N, bool))
    heads = method.heads(params, student)
    own = known.loss(heads["auxiliary_low"]) + known.loss(heads["auxiliary_high"])
    actual = compiled(method.terms)(params, student, teacher, known)["auxiliary"]
    np.testing.assert_allclose(actual, own, rtol=1e-6)
    for band in ("low", "high"):
        np.testing.assert_array_equal(
            heads[f"align_{band}"],
            method.heads({**params, "auxiliary": params["align"]}, student)[f"auxiliary_{band}"],
        )


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
    method, params, student, teacher, known = set_up(
        "fd_cmkd", {**options, "shared_heads": False}, student_width=TEACHER_WIDTH
    )
    terms = compiled(method.terms)(params, student, teacher, known)
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
    expected = plain.terms({"adapter": params["adapter"]}, *batch)["feature"]
    actual = compiled(method.terms)(params, *batch)["feature"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_without_a_split_one_head_reads_the_whole_feature_of_each_model():
    method, params, student, teacher, known = set_up(
        "fd_cmkd", {"basis": "none", "pseudo_labels": False}, student_width=TEACHER_WIDTH
    )
    assert set(method.heads(params, student)) == {"align_feature", "auxiliary_feature"}
    expected = 0.0
    for model in (student, teacher):
        head = params["align"]["feature"]
        logits = oracles.head(head["kernel"], head["bias"], np.asarray(model.features))
        expected += oracles.cross_entropy(logits, np.asarray(known.labels))
    actual = compiled(method.terms)(params, student, teacher, known)["align"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


KEPT_MEAN = [{"basis": each} for each in ("dft", "dct", "haar", "random", "learned")]


@pytest.mark.parametrize("options", [*KEPT_MEAN, {"soft_cutoff": True}], ids=str)
def test_a_kept_mean_is_read_by_the_low_heads_and_by_nothing_else(options):
    method, params, student, *rest = set_up("fd_cmkd", options, student_width=TEACHER_WIDTH)
    kept = methods.make("fd_cmkd", keep_dc=True, **options)
    plain, changed = method.heads(params, student), kept.heads(params, student)
    for group in ("align", "auxiliary"):
        np.testing.assert_array_equal(changed[f"{group}_high"], plain[f"{group}_high"])
        assert np.all(changed[f"{group}_low"] != plain[f"{group}_low"])
    terms, expected = (each.terms(params, student, *rest) for each in (kept, method))
    for band in ("low", "high"):
        np.testing.assert_allclose(terms[band], expected[band], rtol=1e-5, err_msg=band)


def test_the_low_head_reads_the_low_band_with_its_mean():
    method, params, student, *_ = set_up("fd_cmkd", {"keep_dc": True}, student_width=TEACHER_WIDTH)
    low = oracles.bands(student.features, HALF, keep_dc=True)[0]
    head = params["align"]["low"]
    expected = oracles.head(head["kernel"], head["bias"], low)
    np.testing.assert_allclose(
        method.heads(params, student)["align_low"], expected, rtol=1e-4, atol=1e-6
    )


def test_without_a_scale_the_kept_mean_counts_in_the_low_distance_alone():
    options = {"keep_dc": True, "normalize": "none"}
    method, params, student, *rest = set_up("fd_cmkd", options, student_width=TEACHER_WIDTH)
    raised = student.replace(features=student.features + 3.0)
    before, after = (method.terms(params, each, *rest) for each in (student, raised))
    assert np.all(np.abs(after["low"] - before["low"]) > 1)
    np.testing.assert_allclose(after["high"], before["high"], rtol=1e-4)


def test_a_learned_split_is_one_span_for_both_models_trained_by_every_term():
    method, params, *batch = set_up("fd_cmkd", {"basis": "learned"}, student_width=TEACHER_WIDTH)
    assert params["basis"].shape == (TEACHER_WIDTH, 4)  # Bins 1 and 2 of the DFT.
    student, teacher, _ = batch
    terms = compiled(method.terms)(params, *batch)
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
    terms = compiled(method.terms)(params, *batch)
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
    method, params, student, teacher, known = set_up("fd_cmkd", {})

    def total(teacher):
        terms = method.terms(params, student, teacher, known)
        return sum(jnp.sum(term) for term in terms.values())

    assert np.any(jax.jit(jax.grad(total))(teacher).features != 0)


def test_the_low_distance_passes_no_gradient_to_the_high_band_of_the_student():
    method, params, student, teacher, known = set_up("fd_cmkd", {}, student_width=TEACHER_WIDTH)

    def low(features):
        shifted = student.replace(features=features)
        return jnp.sum(method.terms(params, shifted, teacher, known)["low"])

    gradient = jax.jit(jax.grad(low))(student.features)
    assert np.any(gradient != 0)
    high = oracles.bands(gradient, HALF)[1]
    np.testing.assert_allclose(high, np.zeros(gradient.shape), atol=1e-7)


# The others


def test_logit_is_the_softened_divergence():
    method, params, student, teacher, known = set_up("logit", {"temperature": 2.0})
    expected = oracles.soft_divergence(student.logits, teacher.logits, 2.0)
    actual = compiled(method.terms)(params, student, teacher, known)["divergence"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_none_has_no_terms_and_needs_no_teacher():
    method = methods.make("none")
    student = outputs(0, STUDENT_WIDTH)
    assert method.init(jax.random.key(0), student, None, K) == {}
    assert method.names == ()
    assert method.terms({}, student, None, targets()) == {}
