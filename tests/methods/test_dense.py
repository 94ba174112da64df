"""Methods on maps, where every pixel has a prediction and a label."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import terms_fn
from golden_numbers import check, inputs

from fdcmkd_jax import losses, methods
from fdcmkd_jax.types import Outputs, Targets

N, K, IGNORED = 3, 4, 255
SMALL = {"cirkd": {"pixel_memory": 8, "region_memory": 4}}
DENSE = [
    (name, {**SMALL.get(name, {}), **options})
    for name, options in [
        *((name, {}) for name in ("cirkd", "dist", "fd_cmkd", "fitnet", "kd", "mse", "pkd")),
        ("fd_cmkd", {"over": "space"}),
        ("fd_cmkd", {"over": "space", "basis": "none"}),
        ("fd_cmkd", {"shared_heads": False, "auxiliary_heads": False}),
    ]
]


def outputs(seed, width, size):
    rng = np.random.default_rng(seed)
    return Outputs(
        logits=jnp.asarray(rng.normal(size=(N, 12, 16, K)), jnp.float32),
        features=jnp.asarray(rng.normal(size=(N, *size, width)), jnp.float32),
    )


def dense_targets(labels=None):
    labels = np.random.default_rng(2).integers(0, K, (N, 12, 16)) if labels is None else labels
    return Targets(
        labels=jnp.asarray(labels, jnp.int32),
        labelled=jnp.ones(N, bool),
        mask=jnp.ones(N, bool),
        num_classes=K,
        label_loss=lambda logits, labels: losses.cross_entropy(logits, labels, where=labels < K),
    )


@functools.cache
def student_and_teacher():
    """Features on unlike grids and of unlike widths."""
    return outputs(0, 6, (6, 8)), outputs(1, 8, (4, 5))


def run(name, options, shown):
    """The method's terms, and their gradients on the student."""
    method = methods.make(name, **options)
    student, teacher = student_and_teacher()
    params, memory = method.init(jax.random.key(0), student, teacher, K)

    @jax.jit
    def compute(student):
        def total(student):
            terms = method.terms(params, memory, student, teacher, shown)[0]
            return sum((jnp.sum(term) for term in terms.values()), start=jnp.zeros(())), terms

        return jax.grad(total, has_aux=True)(student)

    return method, *compute(student)


@pytest.mark.parametrize(("name", "options"), DENSE, ids=str)
def test_terms_of_maps_are_one_finite_number_for_each_example(name, options):
    labels = np.random.default_rng(2).integers(0, K, (N, 12, 16))
    labels[0] = IGNORED
    method, gradients, terms = run(name, options, dense_targets(labels))
    assert method.dense
    for term in terms.values():
        assert term.shape == (N,)
        assert np.isfinite(term).all()
    assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients))
    assert any(np.any(gradient != 0) for gradient in jax.tree.leaves(gradients))


def test_methods_say_which_of_them_accept_maps():
    made_of_others = {"join", "multi_teacher"}
    accepting = {name for name in methods.names() if name not in made_of_others}
    accepting = {name for name in accepting if methods.make(name).dense}
    assert accepting >= {name for name, _ in DENSE} | {"none"}
    assert {"c2kd", "crd", "dkd", "rkd"}.isdisjoint(accepting)
    kd, rkd = methods.make("kd"), methods.make("rkd")
    assert methods.join({"a": kd, "b": kd}).dense
    assert not methods.join({"a": kd, "b": rkd}).dense
    assert methods.multi_teacher(kd).dense


def test_kd_over_pixels_agrees_with_the_public_code():
    arrays = inputs("kd_seg_T1")
    teacher = Outputs(logits=arrays["teacher_logits_nhwk"], features=jnp.zeros((2, 1)))

    def loss(x):
        shown = dense_targets(np.zeros(x.shape[:-1]))
        student = Outputs(logits=x, features=jnp.zeros((2, 1)))
        return terms_fn(methods.make("kd", temperature=1.0))({}, student, teacher, shown)[
            "divergence"
        ]

    check("kd_seg_T1", loss, arrays["student_logits_nhwk"])


def test_kd_leaves_ignored_pixels_out():
    labels = np.random.default_rng(2).integers(0, K, (N, 12, 16))
    labels[0] = IGNORED
    labels[1, :, :7] = IGNORED
    _, gradients, terms = run("kd", {}, dense_targets(labels))
    student, teacher = student_and_teacher()
    kept = (x.logits[1:2, :, 7:] for x in (student, teacher))
    expected = losses.soft_divergence(*kept, temperature=4.0)
    np.testing.assert_allclose(terms["divergence"][1:2], expected, rtol=1e-5)
    assert terms["divergence"][0] == 0
    np.testing.assert_array_equal(gradients.logits[labels == IGNORED], 0)


@pytest.mark.parametrize(("over", "axes"), [("channels", (-1,)), ("space", (1, 2))])
def test_fd_cmkd_compares_bands_on_the_teachers_grid(over, axes):
    teacher = outputs(1, 8, (4, 5))
    student = outputs(0, 8, (8, 10))  # Of the teacher's width, so nothing is drawn.
    method = methods.make("fd_cmkd", over=over, shared_heads=False, auxiliary_heads=False)
    params, _ = method.init(jax.random.key(0), student, teacher, K)
    terms = terms_fn(method)(params, student, teacher, dense_targets())
    features = jax.image.resize(student.features, (N, 4, 5, 8), "bilinear", antialias=False)
    expected = losses.frequency_distances(features, teacher.features, axes=axes)
    for name in ("low", "high"):
        np.testing.assert_allclose(terms[name], expected[name], rtol=1e-5)


def test_fd_cmkds_heads_classify_every_pixel_and_ignore_labels_outside():
    student, teacher = student_and_teacher()
    method = methods.make("fd_cmkd")
    params, _ = method.init(jax.random.key(0), student, teacher, K)
    heads = method.heads(params, student)
    assert {logits.shape for logits in heads.values()} == {(N, 12, 16, K)}
    labels = np.random.default_rng(2).integers(0, K, (N, 12, 16))
    labels[0] = IGNORED
    terms = terms_fn(method)(params, student, teacher, dense_targets(labels))
    # The heads read the student's bands on the teacher's grid in training, and pixels elsewhere.
    assert terms["auxiliary"][0] == 0
    assert np.all(terms["auxiliary"][1:] > 0)


@pytest.mark.parametrize(
    ("options", "features", "message"),
    [
        ({"over": "space"}, (8,), "a split over space needs maps"),
        ({"over": "space"}, (3, 4, 8), "of at least 4 x 4 positions"),
        ({"over": "space", "basis": "haar"}, (4, 4, 8), "needs the basis 'dft' or 'none'"),
    ],
)
def test_a_split_over_space_needs_maps_and_the_dft(options, features, message):
    both = Outputs(logits=jnp.zeros((N, K)), features=jnp.zeros((N, *features)))
    with pytest.raises(ValueError, match=message):
        methods.make("fd_cmkd", **options).init(jax.random.key(0), both, both, K)
