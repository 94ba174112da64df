"""One optimization step."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_net
from step_setting import SAME_BITS, WEIGHTS, Setting, assert_same_bits, batches, on

from fdcmkd_jax import losses, methods, tasks
from fdcmkd_jax.training import optim, state


def test_a_method_with_a_memory_needs_the_whole_split():
    method = methods.make("crd")
    model, image = toy_net(NUM_CLASSES), jnp.zeros((1, 8, 8, 2))
    variables = model.init(jax.random.key(0), image, train=False)
    teacher = state.abstract_outputs(model, variables, image)
    optimizer = optim.make(num_epochs=1, steps_per_epoch=1, learning_rate=0.1).transformation
    with pytest.raises(ValueError, match="needs the targets of the training split"):
        state.create(jax.random.key(0), model, image, method, teacher, optimizer, NUM_CLASSES)


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_one_shape_is_compiled_once(parallel):
    chex.clear_trace_counter()
    setting = Setting(on(2, parallel), "none", {"task": 1.0}, teacher=False, max_traces=1)
    setting.train(batches(4, real=3))


def test_padding_rows_change_nothing():
    setting = Setting(on(1))
    padded = next(batches(1, real=5))
    short = jax.tree.map(lambda x: x[:5], padded)
    for key in ("audio", "image"):
        padded[key][5:] = 1e3
    after_padded, rows_padded = setting.train([padded])
    after_short, rows_short = setting.train([short])
    chex.assert_trees_all_close(
        (after_padded.params, after_padded.batch_stats, rows_padded),
        (after_short.params, after_short.batch_stats, rows_short),
        rtol=2e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("method", ["fd_cmkd", "mgdfr"])  # The second trains its teacher.
def test_a_step_that_is_told_of_no_padding_takes_the_same_steps(method):
    weights = dict.fromkeys(("task", *methods.make(method).names), 1.0)
    results = [
        Setting(on(2), method, weights, padded=padded).train(batches(3)) for padded in (True, False)
    ]
    (one, one_rows), (other, other_rows) = results
    chex.assert_trees_all_close(
        (one.params, one.batch_stats, one.teacher_stats, one_rows),
        (other.params, other.batch_stats, other.teacher_stats, other_rows),
        rtol=2e-5,
        atol=1e-6,
    )


def test_hidden_labels_leave_task_and_auxiliary_to_the_labelled_alone(two):
    batch = next(batches(1))
    batch["labelled"][4:] = False
    _, (first,) = two.train([batch])
    batch["label"][4:] = (batch["label"][4:] + 1) % NUM_CLASSES
    _, (changed,) = two.train([batch])
    chex.assert_trees_all_equal(first, changed)


def test_without_any_label_the_task_counts_nothing_and_distillation_goes_on(two):
    _, (row,) = two.train(batches(1, labelled=False))
    assert row["terms"]["task"][1] == 0
    assert row["terms"]["low"][1] == 1
    assert row["gradient_norms"]["task"][0] == 0
    assert row["gradient_norms"]["low"][0] > 0


CLASS_WEIGHTS = np.array([0.1, 1.0, 3.0], np.float32)


def weighed(count, class_weights, method="fd_cmkd", options=None):
    task = tasks.classification(num_classes=NUM_CLASSES, class_weights=class_weights)
    return Setting(on(count), method, task=task, options=options)


def outputs_of(setting, batch):
    """The outputs of the student and the teacher of a setting for a batch, at the start."""
    model = toy_net(NUM_CLASSES)
    variables = {"params": setting.start.params["model"], "batch_stats": setting.start.batch_stats}
    student, _ = model.apply(
        variables, jnp.asarray(batch["image"]), train=True, mutable=["batch_stats"]
    )
    return student, model.apply(setting.teacher_variables, jnp.asarray(batch["audio"]), train=False)


@pytest.fixture(scope="module")
def weighed_two():
    return weighed(2, CLASS_WEIGHTS.tolist())


def test_terms_that_read_labels_are_means_by_class_weights_over_all_devices(weighed_two):
    batch = next(batches(1))
    batch["labelled"][:5] = False
    _, (row,) = weighed_two.train([batch])
    student, teacher = outputs_of(weighed_two, batch)
    value = np.asarray(losses.cross_entropy(student.logits, jnp.asarray(batch["label"])))
    rows = CLASS_WEIGHTS[batch["label"]] * batch["labelled"]
    np.testing.assert_allclose(row["terms"]["task"][0], rows @ value / rows.sum(), rtol=1e-5)
    low = losses.frequency_distances(student.features, teacher.features)["low"]
    np.testing.assert_allclose(row["terms"]["low"][0], np.mean(low), rtol=1e-4)
    hits = (np.argmax(student.logits, -1) == batch["label"])[5:]
    assert row["progress"]["accuracy"] == (hits.sum(), 11)


def test_a_term_of_pseudo_labels_is_a_mean_by_the_weights_of_the_labels_it_reads(weighed_two):
    batch = next(batches(1))
    batch["labelled"][:5] = False
    _, (row,) = weighed_two.train([batch])
    student, teacher = outputs_of(weighed_two, batch)
    predicted = np.argmax(teacher.logits, -1).astype(np.int32)
    labels = np.where(batch["labelled"], batch["label"], predicted)
    targets = weighed_two.task.targets(jnp.asarray(labels))
    params = weighed_two.start.params["method"]
    value, _ = weighed_two.method.terms(params, {}, student, teacher, targets)
    rows = CLASS_WEIGHTS[labels]
    np.testing.assert_allclose(
        row["terms"]["align"][0], rows @ value["align"] / rows.sum(), rtol=1e-5
    )


def test_the_number_of_devices_changes_no_weighted_mean(weighed_two):
    stream = list(batches(2, real=11))
    one, rows_one = weighed(1, CLASS_WEIGHTS.tolist()).train(stream)
    two, rows_two = weighed_two.train(stream)
    chex.assert_trees_all_close(
        (one.params, rows_one), (two.params, rows_two), rtol=2e-4, atol=1e-5
    )


def test_equal_class_weights_train_what_none_train():
    stream = list(batches(2))
    after, rows = Setting(on(2), options=SAME_BITS).train(stream)
    equal = weighed(2, [2.0] * NUM_CLASSES, options=SAME_BITS)  # A power of 2: no rounding.
    same, same_rows = equal.train(stream)
    assert_same_bits(after, same)
    chex.assert_trees_all_equal(rows, same_rows)


def test_the_gradient_norm_of_a_term_that_reads_maps_is_not_measured():
    method = methods.make("fitnet", stage="stage2")
    setting = Setting(on(1), method, {"task": 1.0, "feature": 1.0})
    _, (row,) = setting.train(batches(1))
    assert set(row["terms"]) == {"task", "feature"}
    assert set(row["gradient_norms"]) == {"task"}


def test_gradient_norms_are_those_of_each_weighted_term_on_the_features(two):
    batch = next(batches(1))
    _, (row,) = two.train([batch])
    model = toy_net(NUM_CLASSES)
    variables = {"params": two.start.params["model"], "batch_stats": two.start.batch_stats}
    student, _ = model.apply(
        variables, jnp.asarray(batch["image"]), train=True, mutable=["batch_stats"]
    )
    teacher = model.apply(two.teacher_variables, jnp.asarray(batch["audio"]), train=False)

    def low(features):
        return 10.0 * jnp.mean(losses.frequency_distances(features, teacher.features)["low"])

    expected = np.linalg.norm(jax.grad(low)(student.features))
    np.testing.assert_allclose(row["gradient_norms"]["low"][0], expected, rtol=1e-4)

    def task(logits_input):
        kernel, bias = (two.start.params["model"]["fc"][k] for k in ("kernel", "bias"))
        logits = logits_input @ kernel + bias[None]
        return jnp.mean(losses.cross_entropy(logits, jnp.asarray(batch["label"])))

    # The classifier reads the map after its ReLU; a shift of a channel reaches it through the share
    # of positions that are active.
    last = student.maps["stage2"]
    active = jnp.mean(last > 0, axis=(1, 2))
    on_pooled = jax.grad(task)(jnp.mean(last, axis=(1, 2)))
    np.testing.assert_allclose(
        row["gradient_norms"]["task"][0], np.linalg.norm(on_pooled * active), rtol=1e-4
    )


def test_the_teacher_of_broken_pairs_reads_the_partner(two):
    batch = next(batches(1))
    other = next(batches(1, seed=5))
    _, (paired,) = two.train([{**batch, "audio": other["audio"]}])
    _, (broken,) = two.train([{**batch, "partner": {"audio": other["audio"]}}])
    chex.assert_trees_all_equal(paired, broken)


def test_outputs_in_the_batch_replace_the_teacher(two):
    batch = next(batches(1, real=11))
    outputs = toy_net(NUM_CLASSES).apply(
        two.teacher_variables, jnp.asarray(batch["audio"]), train=False
    )
    record = {"logits": np.array(outputs.logits), "features": np.array(outputs.features)}
    _, (expected,) = two.train([batch])
    batch.pop("audio")
    _, (actual,) = two.train([{**batch, "teacher": record}])
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-7)
    record["features"][:11] *= -1  # What is in the batch is what counts.
    _, (other,) = two.train([{**batch, "teacher": record}])
    assert float(other["terms"]["low"][0]) != float(expected["terms"]["low"][0])


def test_loss_is_the_weighted_sum_of_terms(two):
    _, (row,) = two.train(batches(1))
    expected = sum(WEIGHTS[name] * float(mean) for name, (mean, _) in row["terms"].items())
    np.testing.assert_allclose(row["loss"][0], expected, rtol=1e-5)


def test_same_seed_gives_the_same_bits(two):
    stream = list(batches(3))
    assert_same_bits(two.start, Setting(on(2)).start)
    assert_same_bits(two.train(stream)[0], two.train(stream)[0])


def test_student_starts_alike_under_every_method(two):
    with_teacher = two.start.params["model"]
    alone = Setting(on(1), "none", {"task": 1.0}, teacher=False).start.params["model"]
    chex.assert_trees_all_equal(with_teacher, alone)


def test_weights_must_name_the_terms():
    with pytest.raises(ValueError, match=r"missing \['task'\], not a term \['tusk'\]"):
        Setting(on(1), "none", {"tusk": 1.0}, teacher=False)
