import jax
import jax.numpy as jnp
import numpy as np

from fdcmkd_jax.tasks import metrics

LOGITS = jnp.array([[3.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.0, 3.0, 1.0], [2.0, 2.0, 0.0]])
LABELS = jnp.array([0, 1, 1, 1])


def test_masked_sum_counts_only_rows_inside_the_mask():
    total, count = metrics.masked_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([True, False, True]))
    assert (total, count) == (5.0, 2.0)
    assert total.dtype == count.dtype == jnp.float32


def test_masked_sum_and_its_gradient_ignore_nan_outside_the_mask():
    mask = jnp.array([True, False])
    value, gradient = jax.value_and_grad(lambda x: metrics.masked_sum(x, mask)[0])(
        jnp.array([1.5, np.nan])
    )
    assert value == 1.5
    np.testing.assert_array_equal(gradient, [1.0, 0.0])


def test_masked_sum_of_nothing_is_nothing():
    assert metrics.masked_sum(jnp.ones(3), jnp.zeros(3, bool)) == (0.0, 0.0)


def test_masked_sums_of_parts_add_up_to_that_of_the_whole():
    values, mask = jnp.arange(6.0), jnp.array([True, True, False, True, False, True])
    parts = [metrics.masked_sum(values[i : i + 2], mask[i : i + 2]) for i in (0, 2, 4)]
    added = tuple(sum(column) for column in zip(*parts, strict=True))
    assert added == metrics.masked_sum(values, mask) == (9.0, 4.0)


def test_correct_is_one_where_the_largest_logit_is_the_labels():
    actual = metrics.correct(LOGITS, LABELS)
    np.testing.assert_array_equal(actual, [1.0, 0.0, 1.0, 0.0])  # a tie goes to the lowest class
    assert actual.dtype == jnp.float32


def test_correct_is_the_share_of_an_examples_positions():
    logits = jnp.stack([LOGITS, LOGITS])  # [2, 4, 3]
    labels = jnp.array([[0, 1, 1, 1], [0, 2, 1, 0]])
    np.testing.assert_array_equal(metrics.correct(logits, labels), [0.5, 1.0])


def test_confusion_counts_labels_by_row_and_predictions_by_column():
    actual = metrics.confusion(LOGITS, LABELS, jnp.ones(4, bool))
    np.testing.assert_array_equal(actual, [[1, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert actual.dtype == jnp.int32


def test_confusion_leaves_out_rows_outside_the_mask():
    actual = metrics.confusion(LOGITS, LABELS, jnp.array([True, False, True, False]))
    np.testing.assert_array_equal(actual, [[1, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_confusion_counts_each_position_of_an_example_inside_the_mask():
    logits = jnp.stack([LOGITS, LOGITS])  # [2, 4, 3]
    labels = jnp.stack([LABELS, LABELS])
    both = metrics.confusion(logits, labels, jnp.array([True, True]))
    np.testing.assert_array_equal(both, [[2, 0, 0], [2, 2, 2], [0, 0, 0]])
    second = metrics.confusion(logits, labels, jnp.array([False, True]))
    np.testing.assert_array_equal(second, [[1, 0, 0], [1, 1, 1], [0, 0, 0]])


def test_the_diagonal_of_confusion_is_the_number_correct():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(50, 4)), jnp.float32)
    labels, mask = jnp.asarray(rng.integers(0, 4, 50)), jnp.asarray(rng.random(50) < 0.7)
    actual = metrics.confusion(logits, labels, mask)
    hits, count = metrics.masked_sum(metrics.correct(logits, labels), mask)
    assert (np.trace(actual), np.sum(actual)) == (hits, count)
    np.testing.assert_array_equal(np.sum(actual, 1), np.bincount(labels[mask], minlength=4))


def test_totals_add_up_leaf_by_leaf_on_the_host():
    batches = [
        {"loss": (jnp.float32(1.0), jnp.float32(2.0)), "heads": {"low": jnp.ones(2)}},
        {"loss": (jnp.float32(0.5), jnp.float32(3.0)), "heads": {"low": jnp.ones(2)}},
    ]
    totals = None
    for sums in batches:
        totals = metrics.add(totals, sums)
    assert totals["loss"] == (1.5, 5.0)
    np.testing.assert_array_equal(totals["heads"]["low"], [2.0, 2.0])
    assert not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(totals))


def test_totals_are_wide_so_that_many_batches_cost_no_precision():
    batch = {"loss": (jnp.float32(2**24), jnp.float32(1.0)), "confusion": jnp.ones((2, 2), int)}
    totals = metrics.add(None, batch)
    assert totals["loss"][0].dtype == np.float64
    assert totals["confusion"].dtype == np.int64
    more = metrics.add(totals, {**batch, "loss": (jnp.float32(1.0), jnp.float32(1.0))})
    assert more["loss"] == (2.0**24 + 1, 2.0)


def test_precision_recall_and_f1_by_hand():
    confusion = np.array([[3, 1, 0], [2, 0, 0], [0, 0, 0]])
    precision, recall, f1 = metrics.precision_recall_f1(confusion)
    np.testing.assert_allclose(precision, [3 / 5, 0, 0])
    np.testing.assert_allclose(recall, [3 / 4, 0, 0])
    np.testing.assert_allclose(f1, [2 / 3, 0, 0])
    assert metrics.accuracy(confusion) == 0.5


def test_a_mean_is_the_sum_over_the_count():
    actual = metrics.mean((np.float32(6.0), np.float32(4.0)))
    assert actual == 1.5
    assert type(actual) is float


def test_a_mean_is_read_from_totals_of_several_batches():
    sums = {"loss": (jnp.float32(3.0), jnp.float32(2.0))}
    totals = metrics.add(metrics.add(None, sums), sums)
    assert metrics.mean(totals["loss"]) == 1.5


def test_the_mean_of_nothing_is_nan():
    assert np.isnan(metrics.mean((np.float32(0.0), np.float32(0.0))))
