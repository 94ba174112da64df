"""Segmentation, against NumPy and on several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdcmkd_jax import losses, tasks
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.tasks import metrics
from fdcmkd_jax.types import Outputs

N, K, IGNORED = 8, 5, 255
SIZE = (6, 7)
TASK = tasks.make("segmentation", num_classes=K)


@functools.cache
def batch():
    """Logits and labels; class 3 is neither labelled nor predicted, image 2 has no label."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(N, *SIZE, K)).astype(np.float32)
    logits[..., 3] = -9
    labels = rng.integers(0, K - 1, (N, *SIZE)).astype(np.int32)
    labels[labels == 3] = 4
    labels[rng.random(labels.shape) < np.linspace(0, 0.9, N)[:, None, None]] = IGNORED
    labels[2], labels[5, 0] = IGNORED, -1
    return logits, labels


def numpys_metrics(logits, labels):
    """IoU of each class that is present, and pixel accuracy, pixel by pixel."""
    kept = (labels >= 0) & (labels < K)
    truth, predicted = labels[kept], logits.argmax(-1)[kept]
    iou = {}
    for k in range(K):
        union = np.sum((truth == k) | (predicted == k))
        if union:
            iou[k] = np.sum((truth == k) & (predicted == k)) / union
    return iou, np.mean(truth == predicted)


def totals_of(mask, size=3):
    """Sums over batches of ``size``."""
    logits, labels = batch()
    totals = None
    for start in range(0, N, size):
        part = np.s_[start : start + size]
        totals = metrics.add(totals, TASK.sums(*(jnp.asarray(x[part]) for x in (*batch(), mask))))
    return totals, logits[mask], labels[mask]


@pytest.mark.parametrize("mask", [np.ones(N, bool), np.arange(N) % 3 != 1])
def test_miou_equals_numpys_exactly_with_ignored_and_absent_classes(mask):
    totals, logits, labels = totals_of(mask)
    iou, accuracy = numpys_metrics(logits, labels)
    assert set(iou) == {0, 1, 2, 4}
    actual = TASK.metrics(totals)
    assert actual["mean_iou"] == np.mean(list(iou.values()))
    assert actual["pixel_accuracy"] == accuracy
    by_class = TASK.by_class(totals)["iou"]
    assert by_class == [iou.get(k, 0) for k in range(K)]


def test_the_loss_is_the_mean_over_all_pixels_that_count():
    totals, logits, labels = totals_of(np.ones(N, bool))
    kept = (labels >= 0) & (labels < K)
    expected = losses.cross_entropy(jnp.asarray(logits[kept]), jnp.asarray(labels[kept])).mean()
    assert TASK.metrics(totals)["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_one_and_four_devices_agree_with_ignored_pixels_spread_unevenly():
    logits, labels = map(jnp.asarray, batch())
    mask = jnp.arange(N) != 6

    def loss(logits, labels, mask, axis_name):
        targets = TASK.targets(labels, mask=mask)
        weights = targets.row_weights
        total, count = (jnp.sum(weights * targets.loss(logits)), jnp.sum(weights))
        if axis_name:
            total, count = jax.lax.psum((total, count), axis_name)
        return total / count

    one, gradient = jax.value_and_grad(loss)(logits, labels, mask, None)
    shares = (x.reshape(4, N // 4, *x.shape[1:]) for x in (logits, labels, mask))
    mapped = jax.pmap(
        jax.value_and_grad(functools.partial(loss, axis_name="devices")), axis_name="devices"
    )
    four, gradients = mapped(*shares)
    np.testing.assert_allclose(four, np.full(4, one), rtol=1e-6)
    # A sum over devices of equal losses has four times the gradient of one.
    np.testing.assert_allclose(gradients.reshape(logits.shape) / 4, gradient, atol=1e-6)


def test_a_batch_without_a_labelled_pixel_is_finite_and_gives_no_gradient():
    logits = jnp.asarray(batch()[0])
    labels = jnp.full((N, *SIZE), IGNORED)

    def loss(logits):
        targets = TASK.targets(labels)
        assert not np.any(targets.row_weights)
        return jnp.sum(targets.loss(logits))

    value, gradient = jax.value_and_grad(loss)(logits)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    totals = metrics.add(None, TASK.sums(logits, labels, jnp.ones(N, bool)))
    assert all(np.isnan(value) for value in TASK.metrics(totals).values())


def test_progress_is_the_share_of_labelled_pixels_that_are_right():
    logits, labels = batch()
    mask = np.arange(N) < 5
    progress = TASK.progress(*map(jnp.asarray, (logits, labels, mask)))
    _, accuracy = numpys_metrics(logits[mask], labels[mask])
    assert metrics.mean(progress["pixel_accuracy"]) == pytest.approx(accuracy)


def test_a_stored_region_is_the_mean_over_the_rarest_class_that_is_no_speck():
    labels = np.zeros((2, 20, 20), np.int32)
    labels[0, :4], labels[0, 10, 10] = 2, 1  # A band, and a speck of one pixel in 400.
    labels[1] = IGNORED
    features = np.random.default_rng(0).normal(size=(2, 10, 10, 3)).astype(np.float32)
    outputs = Outputs(logits=jnp.zeros((2, 20, 20, K)), features=jnp.asarray(features))
    stored = TASK.examples(outputs, jnp.asarray(labels), {"ids": jnp.zeros((2, 7), jnp.int32)})
    assert stored["labels"][0] == 2
    assert "picture" not in stored
    np.testing.assert_allclose(stored["features"][0], features[0, :2].mean((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(stored["features"][1], 0)
    np.testing.assert_array_equal(stored["label_map"], labels)
    assert stored["label_map"].dtype == stored["predicted_map"].dtype == jnp.uint8


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (np.full((1, 4, 4, 3), 7, np.uint8), np.full((4, 4, 3), 7)),
        (np.arange(16, dtype=np.uint16).reshape(1, 4, 4), np.arange(0, 256, 17).reshape(4, 4, 1)),
        (np.ones((1, 4, 4, 1), np.float32), np.zeros((4, 4, 1))),
    ],
    ids=["uint8 is kept", "depth is stretched", "constant"],
)
def test_a_stored_picture_is_the_input(raw, expected):
    outputs = Outputs(logits=jnp.zeros((1, 4, 4, K)), features=jnp.zeros((1, 2, 2, 3)))
    stored = TASK.examples(outputs, jnp.zeros((1, 4, 4), jnp.int32), {"x": jnp.asarray(raw)})
    assert stored["picture"].dtype == jnp.uint8
    np.testing.assert_array_equal(stored["picture"][0], expected)


def test_what_is_stored_of_the_nyu_test_split_is_small():
    size, width = (480, 640), 256

    def examples(labels):
        outputs = Outputs(
            logits=jnp.zeros((1, *size, 40)), features=jnp.zeros((1, 120, 160, width))
        )
        inputs = {"pixels": jnp.zeros((1, *size, 3), jnp.uint8)}
        return tasks.make("segmentation", num_classes=40).examples(outputs, labels, inputs)

    stored = jax.eval_shape(examples, jnp.zeros((1, *size), jnp.int32))
    assert stored["label_map"].shape == (1, 120, 160)
    assert stored["picture"].shape == (1, 60, 80, 3)
    bytes_each = sum(leaf.size * leaf.dtype.itemsize for leaf in stored.values())
    assert 654 * bytes_each < 50e6


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "segmentation needs 2 to 255 classes, got 1"),
        ({"num_classes": 300}, "segmentation needs 2 to 255 classes, got 300"),
        ({"num_classes": 3, "primary": "accuracy"}, "primary must be"),
    ],
)
def test_a_bad_value_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        tasks.make("segmentation", **options)
