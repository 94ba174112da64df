import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from fdcmkd_jax import losses
from fdcmkd_jax.types import Outputs, Targets, at_least_float32


def targets(labels, labelled):
    return Targets(
        labels=jnp.asarray(labels, jnp.int32),
        labelled=jnp.asarray(labelled),
        mask=jnp.ones(len(labelled), bool),
        num_classes=3,
        label_loss=losses.cross_entropy,
    )


LOGITS = jnp.array([[0.0, 5.0, 1.0], [0.0, 1.0, 5.0], [5.0, 1.0, 0.0], [7.0, 7.0, 0.0]])


def test_a_wrong_rank_is_refused_by_the_type_checker_of_these_tests():
    with pytest.raises(jaxtyping.TypeCheckError, match="mean_squared_error"):
        losses.mean_squared_error(jnp.ones(()), jnp.ones(()))


def test_two_shapes_for_one_letter_are_refused_by_the_type_checker_of_these_tests():
    with pytest.raises(jaxtyping.TypeCheckError, match="cross_entropy"):
        losses.cross_entropy(jnp.ones((2, 5)), jnp.zeros(3, jnp.int32))


def test_hidden_labels_become_the_teachers_prediction_and_shown_ones_stay():
    known = targets([2, 2, 2, 2], [True, False, False, False]).with_pseudo_labels(LOGITS)
    np.testing.assert_array_equal(known.labels, [2, 2, 0, 0])  # a tie goes to the lowest class
    assert known.labels.dtype == jnp.int32


def test_with_pseudo_labels_every_example_is_labelled_and_nothing_else_changes():
    before = targets([2, 2, 2, 2], [True, False, True, False])
    before = before.replace(mask=jnp.array([True, True, False, False]))
    known = before.with_pseudo_labels(LOGITS)
    np.testing.assert_array_equal(known.labelled, [True] * 4)
    np.testing.assert_array_equal(known.mask, before.mask)
    assert (known.num_classes, known.label_loss) == (3, losses.cross_entropy)
    np.testing.assert_array_equal(before.labels, [2, 2, 2, 2])
    np.testing.assert_array_equal(before.labelled, [True, False, True, False])


def test_pseudo_labels_are_drawn_for_each_position_of_an_example():
    logits = jnp.stack([LOGITS, LOGITS])[:, None]  # [2, 1, 4, 3]
    known = targets(np.full((2, 1, 4), 2), [True, False]).with_pseudo_labels(logits)
    np.testing.assert_array_equal(known.labels, [[[2, 2, 2, 2]], [[1, 2, 0, 0]]])


def test_labels_stay_int32_where_indices_are_wider():
    with jax.enable_x64(True):
        known = targets([2, 2, 2, 2], [True, False, False, False]).with_pseudo_labels(LOGITS)
        assert known.labels.dtype == jnp.int32


def test_pseudo_labels_pass_no_gradient_to_the_teacher():
    student = jnp.ones((4, 3))

    def loss(logits):
        known = targets([2, 2, 2, 2], [False] * 4).with_pseudo_labels(logits)
        return jnp.sum(known.loss(student))

    np.testing.assert_array_equal(jax.grad(loss)(LOGITS), np.zeros((4, 3)))


def test_the_loss_of_targets_is_the_tasks_against_the_labels():
    known = targets([1, 0, 0, 0], [True] * 4)
    np.testing.assert_array_equal(known.loss(LOGITS), losses.cross_entropy(LOGITS, known.labels))


def test_every_labelled_row_counts_once_unless_the_task_weighs_it():
    known = targets([1, 0, 2, 0], [True, True, False, True])
    known = known.replace(mask=jnp.array([True, False, True, True]))
    np.testing.assert_array_equal(known.row_weights, [1.0, 0.0, 0.0, 1.0])
    weighed = known.replace(label_weight=lambda labels: labels.astype(jnp.float32) + 2)
    np.testing.assert_array_equal(weighed.row_weights, [3.0, 0.0, 0.0, 2.0])
    assert weighed.row_weights.dtype == jnp.float32


def test_targets_pass_through_jit_with_the_task_outside_the_traced_values():
    known = targets([1, 0, 0, 0], [True] * 4)
    assert len(jax.tree.leaves(known)) == 3  # labels, labelled, mask
    actual = jax.jit(lambda t: t.loss(LOGITS))(known)
    np.testing.assert_allclose(actual, known.loss(LOGITS), rtol=1e-6)


def test_outputs_need_no_maps():
    assert Outputs(logits=jnp.ones((2, 3)), features=jnp.ones((2, 4))).maps == {}


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32")],
)
def test_at_least_float32_widens_only_narrow_numbers(dtype, expected):
    wide = at_least_float32(jnp.array([1.0, 2.5], dtype))
    assert wide.dtype == expected
    np.testing.assert_array_equal(wide, [1.0, 2.5])


def test_at_least_float32_keeps_float64():
    with jax.enable_x64(True):
        assert at_least_float32(jnp.ones(2, jnp.float64)).dtype == jnp.float64
