"""A teacher that the method trains."""

import chex
import jax
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_net
from step_setting import TASK, Setting, batches, on

from fdcmkd_jax import methods
from fdcmkd_jax.training.devices import AXIS, to_host
from fdcmkd_jax.training.step import make_train_step

TRAINED = dict.fromkeys(("task", "teacher", "teacher_proxy", "student_proxy", "exchange"), 1.0)


@pytest.fixture(scope="module")
def both_trained():
    """Four steps of a student and its teacher on 1 device and on 4, the last one uneven."""
    method = methods.make("c2kd", axis_name=AXIS, stage="stage2")
    settings = [Setting(devices, method, TRAINED) for devices in (on(1), on(4), on(4, "shard_map"))]
    return [(setting, *setting.train(batches(4, real=5))) for setting in settings]


def test_device_count_does_not_change_a_trained_teacher(both_trained):
    (_, one, rows_1), (_, many, rows_4), (_, sharded, _) = both_trained
    chex.assert_trees_all_close(rows_1, rows_4, rtol=1e-3, atol=1e-5)
    for name in ("params", "teacher_stats"):
        chex.assert_trees_all_close(getattr(one, name), getattr(many, name), rtol=1e-3, atol=1e-4)
        chex.assert_trees_all_equal(getattr(many, name), getattr(sharded, name))


def test_a_trained_teacher_moves_with_its_statistics_and_the_original_stays(both_trained):
    setting, after, _ = both_trained[0]
    chex.assert_trees_all_equal(
        setting.start.params["teacher"], setting.teacher_variables["params"]
    )
    chex.assert_trees_all_equal(to_host(setting.teacher_variables), setting.teacher_after)
    for name, before, now in (
        ("params", setting.teacher_variables["params"], after.params["teacher"]),
        ("stats", setting.teacher_variables["batch_stats"], after.teacher_stats),
    ):
        leaves = zip(jax.tree.leaves(before), jax.tree.leaves(now), strict=True)
        assert all(np.any(x != y) for x, y in leaves), name


def test_a_frozen_teacher_is_no_part_of_the_state(two):
    assert set(two.start.params) == {"model", "method"}
    assert two.start.teacher_stats == {}


def test_a_method_joined_with_one_that_trains_the_teacher_does_not_train_it():
    c2kd = methods.make("c2kd", axis_name=AXIS, stage="stage2")
    method = methods.join({"c2kd": c2kd, "mse": methods.mse()})
    weights = {"task": 1.0, **{f"c2kd_{name}": 0.0 for name in TRAINED if name != "task"}}
    setting = Setting(on(2), method, {**weights, "mse_feature": 1.0})
    after, _ = setting.train(batches(2))
    chex.assert_trees_all_equal(after.params["teacher"], setting.start.params["teacher"])


def test_a_method_that_trains_its_teacher_needs_one():
    with pytest.raises(ValueError, match="trains its teacher needs exactly one"):
        make_train_step(toy_net(NUM_CLASSES), "image", methods.make("c2kd"), TASK, TRAINED)
