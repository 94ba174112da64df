import jax.numpy as jnp
import numpy as np
import pytest

from fdcmkd_jax import losses, tasks
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.tasks import metrics

LOGITS = jnp.array([[0.0, 2.0], [0.0, 2.0], [9.0, 0.0]])
LABELS = jnp.array([1, 0, 0])


def test_classification_reads_labels_as_classes():
    loss = tasks.classification(num_classes=2).loss(LOGITS, LABELS)
    softplus = np.log1p(np.exp([-2.0, 2.0, -9.0]))
    np.testing.assert_allclose(loss, softplus, rtol=1e-5, atol=1e-6)


def test_smoothing_is_of_the_training_loss_and_not_of_what_is_measured():
    task = tasks.classification(num_classes=2, label_smoothing=0.5)
    plain = tasks.classification(num_classes=2)
    # A quarter of the target is on the other class, whose logit is lower by the gap.
    gaps = np.array([2.0, -2.0, 9.0])
    expected = plain.loss(LOGITS, LABELS) + 0.25 * gaps
    np.testing.assert_allclose(task.loss(LOGITS, LABELS), expected, rtol=1e-5)
    mask = jnp.array([True, True, True])
    assert task.sums(LOGITS, LABELS, mask) == plain.sums(LOGITS, LABELS, mask)


def test_classification_sums_loss_and_accuracy_inside_the_mask():
    mask = jnp.array([True, True, False])
    sums = tasks.classification(num_classes=2).sums(LOGITS, LABELS, mask)
    assert sorted(sums) == ["accuracy", "loss"]
    assert metrics.mean(sums["accuracy"]) == 0.5
    expected = np.log1p(np.exp([-2.0, 2.0])).mean()
    assert metrics.mean(sums["loss"]) == pytest.approx(expected, rel=1e-6)


def test_targets_are_a_batchs_labels_in_the_tasks_terms():
    task = tasks.classification(num_classes=2)
    labelled, mask = jnp.array([True, False, True]), jnp.array([True, True, False])
    targets = task.targets(LABELS, labelled=labelled, mask=mask, id=jnp.arange(3))
    np.testing.assert_array_equal(targets.labels, LABELS)
    np.testing.assert_array_equal(targets.labelled, labelled)
    np.testing.assert_array_equal(targets.mask, mask)
    assert targets.num_classes == 2
    np.testing.assert_array_equal(targets.loss(LOGITS), losses.cross_entropy(LOGITS, LABELS))


@pytest.mark.parametrize("name", sorted(tasks.TABLE))
def test_every_task_is_made_by_name_and_sums_at_least_loss_and_accuracy(name):
    task = tasks.make(name, num_classes=2)
    assert task.num_classes == 2
    assert {"loss", "accuracy"} <= set(task.sums(LOGITS, LABELS, jnp.ones(3, bool)))


def test_one_class_is_refused():
    message = "task 'classification': classification needs at least 2 classes, got 1"
    with pytest.raises(ConfigError, match=message):
        tasks.make("classification", num_classes=1)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_smoothing_outside_its_range_is_refused(share):
    with pytest.raises(ConfigError, match=r"label_smoothing must lie in \[0, 1\), got"):
        tasks.make("classification", num_classes=2, label_smoothing=share)


def test_a_misspelt_task_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown task 'clasification'.*mean 'classification'"):
        tasks.make("clasification", num_classes=2)


def test_an_unknown_option_of_a_task_is_refused():
    with pytest.raises(ConfigError, match="unknown option of task 'classification': 'depth'"):
        tasks.make("classification", num_classes=2, depth=3)
