"""Results on several devices, and how work is mapped over them."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_net
from step_setting import SAME_BITS, TASK, Setting, assert_same_bits, batches, on, to_batch

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import evaluation
from fdcmkd_jax.training.devices import AXIS, Devices, to_host
from fdcmkd_jax.training.forward import forward_program


@pytest.fixture(scope="module")
def trained():
    """Twenty steps on 1, 2, 4 and 8 devices; every fourth batch is uneven."""
    results = {}
    for count in (1, 2, 4, 8):
        setting = Setting(on(count))
        stream = itertools.chain.from_iterable(batches(4, real=5, seed=epoch) for epoch in range(5))
        results[count] = (setting, *setting.train(stream))
    return results


@pytest.mark.parametrize("count", [2, 4, 8])
def test_device_count_changes_neither_losses_nor_gradient_norms(trained, count):
    one, many = trained[1][2], trained[count][2]
    assert len(one) == 20
    chex.assert_trees_all_close(one, many, rtol=1e-4, atol=1e-6)


def test_device_count_does_not_change_losses_that_relate_the_batchs_examples():
    # Between them they sum over devices, gather rows and find their own among those.
    method = methods.join(
        {"dist": methods.make("dist", axis_name=AXIS), "rkd": methods.make("rkd", axis_name=AXIS)}
    )
    weights = {"task": 1.0, **dict.fromkeys(method.names, 1.0)}
    stream = list(batches(4, real=5))
    one, many, sharded = (
        Setting(devices, method, weights).train(stream)[1]
        for devices in (on(1), on(4), on(4, "shard_map"))
    )
    chex.assert_trees_all_close(one, many, rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(many, sharded, rtol=1e-5, atol=1e-7)


def test_device_count_does_not_change_what_a_method_remembers():
    method = methods.make("crd", axis_name=AXIS, negatives=4, size=8)
    weights = {"task": 1.0, "contrast": 0.1}
    stream = list(batches(4, real=5))
    one, many, sharded = (
        Setting(devices, method, weights, options=SAME_BITS).train(stream)
        for devices in (on(1), on(4), on(4, "shard_map"))
    )
    chex.assert_trees_all_close(one[1], many[1], rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(one[0].memory, many[0].memory, rtol=1e-3, atol=1e-4)
    chex.assert_trees_all_equal(many[0].memory, sharded[0].memory)
    assert one[0].memory["step"] == 4


def test_losses_fall(trained):
    losses_ = [float(row["loss"][0]) for row in trained[1][2]]
    assert np.mean(losses_[-4:]) < np.mean(losses_[:4])


def test_teacher_keeps_its_bytes(trained):
    setting = trained[8][0]
    chex.assert_trees_all_equal(to_host(setting.teacher_variables), setting.teacher_after)


def test_pmap_and_shard_map_give_the_same_parameters():
    stream = list(batches(6, real=5))
    by_pmap, _ = Setting(on(4), options=SAME_BITS).train(stream)
    by_shard_map, _ = Setting(on(4, "shard_map"), options=SAME_BITS).train(stream)
    assert_same_bits(by_pmap, by_shard_map)


def test_an_unknown_way_to_map_is_refused():
    with pytest.raises(ValueError, match="'pmap' or 'shard_map', got 'vmap'"):
        Devices("vmap")


def test_a_batch_that_does_not_divide_over_the_devices_is_refused():
    on(4).check(16)
    with pytest.raises(ConfigError, match=r"a batch of 18 does not divide over 4 devices"):
        on(4).check(18)


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
@pytest.mark.parametrize("count", [1, 4])
def test_evaluation_counts_real_rows_and_returns_them_in_order(parallel, count):
    devices = on(count, parallel)
    model, method = toy_net(NUM_CLASSES), methods.make("none")
    batch = next(batches(1, real=11))
    variables = model.init(jax.random.key(0), jnp.asarray(batch["image"]), train=False)
    variables = {name: variables[name] for name in ("params", "batch_stats")}
    rows = devices.split(to_batch(batch, teacher=False))
    inputs = rows.inputs["image"]
    outputs = forward_program(devices, model)(devices.replicate(variables), inputs)
    sums = to_host(evaluation.sums_program(devices, method, TASK)({}, outputs, rows.targets))
    stored = evaluation.examples_program(devices, TASK)(outputs, inputs, rows.targets)
    examples = devices.gather(stored)
    logits = np.asarray(model.apply(variables, jnp.asarray(batch["image"]), train=False).logits)
    hits = logits.argmax(-1) == batch["label"]
    confusion, (_, counted) = sums["main"]["confusion"], sums["main"]["loss"]
    assert counted == confusion.sum() == 11
    assert np.trace(confusion) == hits[:11].sum()
    np.testing.assert_array_equal(examples["id"], batch["id"])
    np.testing.assert_array_equal(examples["predictions"], logits.argmax(-1))
