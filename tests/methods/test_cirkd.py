"""CIRKD and its memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_numbers import GOLDEN, check, inputs

from fdcmkd_jax import losses, methods
from fdcmkd_jax.methods import class_memory
from fdcmkd_jax.methods.cirkd import contrast_divergence, pair_divergence
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Outputs, Targets

N, K, C, IGNORED = 4, 3, 6, 255
OPTIONS = {"pixel_memory": 40, "region_memory": 6, "pixel_contrast": 30, "region_contrast": 9}


def rng(seed=0):
    return np.random.default_rng(seed)


def dense_batch(mask=(True,) * N, size=(4, 5)):
    """Maps of student and teacher on a grid of ``size``, and labels of twice that size."""
    student, teacher = (
        Outputs(
            logits=jnp.zeros((N, 1, 1, K)),
            features=jnp.asarray(rng(seed).normal(size=(N, *size, width)), jnp.float32),
        )
        for seed, width in ((0, 5), (1, C))
    )
    labels = rng(2).integers(0, K, (N, 2 * size[0], 2 * size[1]))
    labels[1] = IGNORED
    labels[2, :, ::3] = IGNORED
    return student, teacher, targets(labels, mask)


def targets(labels, mask):
    return Targets(
        labels=jnp.asarray(labels, jnp.int32),
        labelled=jnp.ones(N, bool),
        mask=jnp.asarray(mask),
        num_classes=K,
        label_loss=losses.cross_entropy,
    )


def test_pairs_of_images_agree_with_the_public_code():
    arrays = inputs("cirkd_minibatch_pixel")
    student, teacher = arrays["student_map_nhwc"], arrays["teacher_map_nhwc"]

    def loss(x):
        pixels = (y.reshape(len(y), -1, y.shape[-1]) for y in (x, teacher))
        return pair_divergence(*pixels, jnp.ones(len(x), bool), 0.1)

    check("cirkd_minibatch_pixel", loss, student)


def test_the_memorys_terms_agree_with_the_public_code():
    arrays = inputs("cirkd_memory_sim")

    def loss(x):
        teacher, rows = arrays["teacher_pixels"][None], arrays["contrast_rows"]
        return contrast_divergence(x[None], teacher, rows, 0.1)

    check("cirkd_memory_sim", loss, arrays["student_pixels"])
    assert GOLDEN["cirkd_memory_sim"]["hyperparameters"]["tau"] == 0.1


def test_drawn_pixels_and_regions_are_of_their_class():
    labels = np.array([[0, 0, 2, 9, 2, 2], [1, 1, 1, 1, 9, 9]])
    pixels = np.zeros((2, 6, K + 7), np.float32)
    np.put_along_axis(pixels, labels[..., None], 1.0, axis=-1)
    known = labels < K
    rows, present = class_memory.draw_pixels(
        jax.random.key(0), jnp.asarray(pixels), jnp.asarray(labels), jnp.asarray(known), K, 0
    )
    np.testing.assert_array_equal(present.sum(-1), [[2, 0, 3], [0, 4, 0]])
    for k in range(K):
        drawn = rows[:, k][present[:, k]]
        np.testing.assert_array_equal(drawn, np.broadcast_to(np.eye(K + 7)[k], drawn.shape))
    means, present = class_memory.region_means(
        jnp.asarray(pixels), jnp.asarray(labels), jnp.asarray(known), K
    )
    np.testing.assert_array_equal(present[..., 0], [[True, False, True], [False, True, False]])
    np.testing.assert_allclose(means[1, 1, 0], np.eye(K + 7)[1], atol=1e-6)


def test_a_class_of_many_pixels_gives_different_ones():
    pixels = jnp.arange(50.0).reshape(1, 50, 1)
    labels, known = jnp.zeros((1, 50), int), jnp.ones((1, 50), bool)
    draw = functools.partial(class_memory.draw_pixels, num_classes=1, first=0)
    one, other = (draw(jax.random.key(s), pixels, labels, known)[0].ravel() for s in (0, 1))
    assert len(set(one.tolist())) == class_memory.PIXELS_PER_CLASS
    assert set(one.tolist()) != set(other.tolist())


def test_a_queue_writes_over_its_oldest_rows_and_keeps_the_last_of_too_many():
    queue = {"rows": jnp.zeros((2, 3, 1)), "next": jnp.array([2, 0])}
    rows = jnp.arange(1.0, 11.0).reshape(1, 2, 5, 1)
    present = jnp.array([[[True, False, True, False, False], [True] * 5]])
    after = class_memory.enqueue(queue, rows, present)
    # Class 0: 1 and 3, from place 2 on. Class 1: 8, 9 and 10 of five rows.
    np.testing.assert_array_equal(after["rows"][..., 0], [[3, 0, 1], [9, 10, 8]])
    np.testing.assert_array_equal(after["next"], [1, 2])


@functools.cache
def start():
    method = methods.make("cirkd", **OPTIONS)
    student, teacher, _ = dense_batch()
    return method.init(jax.random.key(0), student, teacher, K)


@pytest.mark.parametrize("pooling", [1, 2])
def test_two_devices_with_uneven_padding_and_ignored_pixels_give_the_terms_of_one(pooling):
    mask = (True, True, True, False)
    batch = dense_batch(mask)
    params, memory = start()

    def terms(axis_name, *batch):
        method = methods.make("cirkd", axis_name=axis_name, pooling=pooling, **OPTIONS)
        return method.terms(params, memory, *batch)

    one, after = jax.jit(functools.partial(terms, None))(*batch)
    shares = jax.tree.map(lambda x: x.reshape(2, N // 2, *x.shape[1:]), batch)
    mapped = jax.pmap(
        functools.partial(terms, "devices"), axis_name="devices", devices=jax.devices()[:2]
    )
    two, after_two = mapped(*shares)
    for name, term in one.items():
        np.testing.assert_allclose(two[name].ravel()[:3], term[:3], rtol=1e-5, err_msg=name)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], after_two), after, rtol=1e-5)


def test_ignored_pixels_enter_neither_the_memorys_terms_nor_the_memory():
    student, teacher, shown = dense_batch()
    params, memory = start()
    terms = jax.jit(methods.make("cirkd", **OPTIONS).terms)
    before, after = terms(params, memory, student, teacher, shown)
    assert before["memory_pixel"][1] == 0  # Its labels are all ignored.
    assert np.all(before["memory_region"][np.array([0, 2, 3])] > 0)
    changed = teacher.replace(features=teacher.features.at[1].add(3.0))
    _, same = terms(params, memory, student, changed, shown)
    chex.assert_trees_all_equal(same["pixel"]["rows"], after["pixel"]["rows"])
    filled = np.any(after["region"]["rows"] != memory["region"]["rows"], axis=(2,)).sum(axis=1)
    np.testing.assert_array_equal(filled, [3, 3, 3])  # One for each image with labels.


def test_the_memory_moves_the_terms_and_the_next_step_draws_anew():
    student, teacher, shown = dense_batch()
    params, memory = start()
    terms = jax.jit(methods.make("cirkd", **OPTIONS).terms)
    first, after = terms(params, memory, student, teacher, shown)
    second, _ = terms(params, after, student, teacher, shown)
    assert np.all(first["memory_pixel"][:1] != second["memory_pixel"][:1])
    np.testing.assert_array_equal(first["pixel"], second["pixel"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": 0}, "pooling, memories and contrasts must be positive, got"),
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
    ],
)
def test_a_bad_number_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("cirkd", **options)
