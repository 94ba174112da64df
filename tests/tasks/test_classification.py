import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
import torch

from fdcmkd_jax import losses, tasks
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.tasks import metrics
from fdcmkd_jax.types import Outputs

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
    chex.assert_trees_all_equal(task.sums(LOGITS, LABELS, mask), plain.sums(LOGITS, LABELS, mask))


def test_classification_sums_loss_and_confusion_inside_the_mask():
    mask = jnp.array([True, True, False])
    totals = metrics.add(None, tasks.classification(num_classes=2).sums(LOGITS, LABELS, mask))
    expected = np.log1p(np.exp([-2.0, 2.0])).mean()
    assert metrics.mean(totals["loss"]) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(totals["confusion"], [[0, 1], [0, 1]])


def test_progress_is_the_accuracy_inside_the_mask():
    task = tasks.classification(num_classes=2, class_weights=[1.0, 3.0])
    progress = task.progress(LOGITS, LABELS, jnp.array([True, True, False]))
    assert {name: metrics.mean(pair) for name, pair in progress.items()} == {"accuracy": 0.5}


def classified(rng, classes, predicted_classes):
    """Labels, predictions and the totals of two batches of them."""
    task = tasks.classification(num_classes=5)
    labels, predictions = rng.choice(classes, 60), rng.choice(predicted_classes, 60)
    totals = None
    for rows in (slice(0, 40), slice(40, 60)):
        logits = jax.nn.one_hot(predictions[rows], 5)
        mask = jnp.ones(len(logits), bool)
        totals = metrics.add(totals, task.sums(logits, jnp.asarray(labels[rows]), mask))
    return task, labels, predictions, totals


@pytest.mark.parametrize(
    ("classes", "predicted_classes"),
    [(range(5), range(5)), ([0, 1, 1, 1, 3], [1, 1, 1, 2]), ([2], [2]), ([0], [4])],
    ids=["all", "some without examples or predictions", "one", "all wrong"],
)
def test_metrics_equal_scikit_learns(classes, predicted_classes, rng):
    task, labels, predictions, totals = classified(rng, classes, predicted_classes)
    keywords = {"labels": range(5), "zero_division": 0}
    actual = task.metrics(totals)
    assert actual["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predictions))
    for average in ("macro", "weighted"):
        expected = sklearn.metrics.f1_score(labels, predictions, average=average, **keywords)
        assert actual[f"{average}_f1"] == pytest.approx(expected, abs=1e-9)
    *by_class, _ = sklearn.metrics.precision_recall_fscore_support(labels, predictions, **keywords)
    for (name, values), expected in zip(task.by_class(totals).items(), by_class, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-9, err_msg=name)


def test_metrics_of_nothing_are_nan_or_zero_without_a_warning():
    task = tasks.classification(num_classes=2)
    totals = metrics.add(None, task.sums(LOGITS, LABELS, jnp.zeros(3, bool)))
    actual = task.metrics(totals)
    assert [name for name in actual if np.isnan(actual[name])] == [
        "loss",
        "accuracy",
        "weighted_f1",
    ]
    assert actual["macro_f1"] == 0
    assert task.by_class(totals)["f1"] == [0.0, 0.0]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("class_weights", [(), (0.2, 1.0, 3.5)])
def test_the_weighted_mean_of_the_loss_equals_pytorchs(class_weights, label_smoothing, rng):
    logits = rng.normal(scale=3, size=(40, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 40)
    task = tasks.make(
        "classification",
        num_classes=3,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
    )
    targets = task.targets(jnp.asarray(labels, jnp.int32))

    def mean(logits):
        return jnp.sum(targets.row_weights * targets.loss(logits)) / jnp.sum(targets.row_weights)

    value, gradient = jax.value_and_grad(mean)(jnp.asarray(logits))
    torch_logits = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        torch_logits,
        torch.from_numpy(labels),
        weight=torch.tensor(class_weights) if class_weights else None,
        label_smoothing=label_smoothing,
    )
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, torch_logits.grad, atol=1e-6)


def test_class_weights_change_no_metric():
    weighted = tasks.classification(num_classes=2, class_weights=[1.0, 9.0], label_smoothing=0.1)
    mask = jnp.ones(3, bool)
    chex.assert_trees_all_equal(
        weighted.sums(LOGITS, LABELS, mask),
        tasks.classification(num_classes=2).sums(LOGITS, LABELS, mask),
    )


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, np.inf], [1.0, "2"]])
def test_class_weights_are_one_positive_number_a_class(weights):
    message = "class_weights must hold one positive number for each of the 2 classes"
    with pytest.raises(ValueError, match=message):
        tasks.classification(num_classes=2, class_weights=weights)


@pytest.mark.usefixtures("without_type_checks")
def test_the_primary_metric_is_one_of_three():
    task = tasks.make("classification", num_classes=2, primary="weighted_f1")
    assert task.label == "weighted F1"
    message = "primary must be 'accuracy', 'macro_f1' or 'weighted_f1', got 'f1'"
    with pytest.raises(ConfigError, match=message):
        tasks.make("classification", num_classes=2, primary="f1")


def test_targets_are_a_batchs_labels_in_the_tasks_terms():
    task = tasks.classification(num_classes=2)
    labelled, mask = jnp.array([True, False, True]), jnp.array([True, True, False])
    targets = task.targets(LABELS, labelled=labelled, mask=mask, id=jnp.arange(3))
    np.testing.assert_array_equal(targets.labels, LABELS)
    np.testing.assert_array_equal(targets.labelled, labelled)
    np.testing.assert_array_equal(targets.mask, mask)
    assert targets.num_classes == 2
    np.testing.assert_array_equal(targets.loss(LOGITS), losses.cross_entropy(LOGITS, LABELS))


def test_the_weight_of_a_row_is_that_of_its_class_where_it_counts():
    task = tasks.classification(num_classes=2, class_weights=[0.5, 2.0])
    everything = task.targets(LABELS)
    np.testing.assert_array_equal(everything.row_weights, [2.0, 0.5, 0.5])
    hidden, padding = jnp.array([True, False, True]), jnp.array([True, True, False])
    some = task.targets(LABELS, labelled=hidden, mask=padding)
    np.testing.assert_array_equal(some.row_weights, [2.0, 0.0, 0.0])
    pseudo = some.with_pseudo_labels(LOGITS)  # Predicts class 1 for the second.
    np.testing.assert_array_equal(pseudo.row_weights, [2.0, 2.0, 0.0])


@pytest.mark.parametrize("name", sorted(tasks.TABLE))
def test_every_task_is_made_by_name_and_has_its_primary_metric(name):
    task = tasks.make(name, num_classes=2)
    assert task.num_classes == 2
    dense = (slice(None), None, None) if name == "segmentation" else ()  # Images of one pixel.
    logits, labels, features = LOGITS[dense], LABELS[dense], jnp.ones((3, 4))[dense]
    totals = metrics.add(None, task.sums(logits, labels, jnp.ones(3, bool)))
    measured = task.metrics(totals)
    assert task.primary in measured
    assert all(type(value) is float for value in measured.values())
    details = task.details(totals)
    assert set(dict(task.labels)) <= {*measured, *details["by_class"]}
    assert all(len(values) == 2 for values in details["by_class"].values())
    assert json.loads(json.dumps(task.describe_metrics()))["primary"] == task.primary
    outputs = Outputs(logits=logits, features=features)
    assert {len(rows) for rows in task.examples(outputs, labels, None).values()} == {3}


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
