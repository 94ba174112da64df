"""Losses of several pairs of layers with weights, adapters and maps of unlike size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from loss_cases import normal

from fdcmkd_jax import adapters, losses
from fdcmkd_jax.registry import ConfigError

KEY = jax.random.key(0)
STUDENT = {"stage1": normal(0, 4, 6, 4, 3), "stage2": normal(1, 4, 3, 2, 5)}
TEACHER = {"block1": normal(2, 4, 5, 5, 7), "block2": normal(3, 4, 3, 2, 5)}
WEIGHTS = {("stage1", "block1"): 2.0, ("stage2", "block2"): 0.5}


def test_a_layer_loss_is_the_weighted_sum_over_pairs_of_one_width():
    student, teacher = {"a": normal(0, 4, 6), "b": normal(1, 4, 3, 5)}, {"c": normal(2, 4, 6)}
    teacher["d"] = normal(3, 4, 3, 5)
    actual = losses.layer_loss(student, teacher, {("a", "c"): 3.0, ("b", "d"): 0.1})
    first = losses.mean_squared_error(student["a"], teacher["c"])
    second = losses.mean_squared_error(student["b"], teacher["d"])
    np.testing.assert_allclose(actual, 3.0 * first + 0.1 * second, rtol=1e-6)


def test_one_layer_may_stand_in_several_pairs():
    student, teacher = {"a": normal(0, 4, 6)}, {"c": normal(2, 4, 6), "d": normal(3, 4, 6)}
    actual = losses.layer_losses(student, teacher, [("a", "c"), ("a", "d")])
    assert list(actual) == ["a->c", "a->d"]
    for name, value in actual.items():
        expected = losses.mean_squared_error(student["a"], teacher[name[-1]])
        np.testing.assert_array_equal(value, expected)


def test_maps_go_through_their_adapter_and_are_resized_to_the_teachers():
    adapter = adapters.conv1x1()
    params = losses.init_layers(KEY, STUDENT, TEACHER, WEIGHTS, adapter)
    assert params["stage1->block1"]["kernel"].shape == (3, 7)
    assert params["stage2->block2"]["kernel"].shape == (5, 5)
    actual = losses.layer_losses(STUDENT, TEACHER, WEIGHTS, adapter=adapter, params=params)
    mapped = adapter.apply(params["stage1->block1"], STUDENT["stage1"])
    resized = adapters.resize_maps(mapped, TEACHER["block1"])
    expected = losses.mean_squared_error(resized, TEACHER["block1"])
    np.testing.assert_array_equal(actual["stage1->block1"], expected)
    total = losses.layer_loss(STUDENT, TEACHER, WEIGHTS, adapter=adapter, params=params)
    expected = 2.0 * actual["stage1->block1"] + 0.5 * actual["stage2->block2"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_any_loss_of_two_arrays_can_be_used():
    def high(student, teacher):
        return losses.frequency_distances(student, teacher)["high"]

    actual = losses.layer_losses(STUDENT, TEACHER, [("stage2", "block2")], high)
    np.testing.assert_array_equal(
        actual["stage2->block2"], high(STUDENT["stage2"], TEACHER["block2"])
    )


def test_an_adapter_is_drawn_alike_whatever_other_pairs_there_are():
    alone = losses.init_layers(KEY, STUDENT, TEACHER, [("stage1", "block1")], adapters.mlp())
    among = losses.init_layers(KEY, STUDENT, TEACHER, WEIGHTS, adapters.mlp())
    jax.tree.map(np.testing.assert_array_equal, alone["stage1->block1"], among["stage1->block1"])


def test_abstract_layers_suffice_to_draw_adapters():
    shapes = jax.eval_shape(lambda: (STUDENT, TEACHER))
    params = losses.init_layers(KEY, *shapes, WEIGHTS, adapters.linear(always=False))
    assert params["stage1->block1"]["kernel"].shape == (3, 7)
    assert params["stage2->block2"] == {}


def test_layers_and_their_adapters_train_in_a_plain_optax_loop():
    adapter = adapters.conv1x1()
    params = losses.init_layers(KEY, STUDENT, TEACHER, WEIGHTS, adapter)
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        def loss(params):
            values = losses.layer_loss(STUDENT, TEACHER, WEIGHTS, adapter=adapter, params=params)
            return jnp.mean(values)

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    values = []
    for _ in range(60):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values[-1] < 0.8 * values[0]


def test_bfloat16_layers_are_compared_wide():
    student, teacher = (
        jax.tree.map(lambda x: x.astype(jnp.bfloat16), layers) for layers in (STUDENT, TEACHER)
    )
    adapter = adapters.conv1x1()
    params = losses.init_layers(KEY, student, teacher, WEIGHTS, adapter)
    value = losses.layer_loss(student, teacher, WEIGHTS, adapter=adapter, params=params)
    assert value.dtype == jnp.float32


def test_an_unknown_layer_is_refused_with_the_known_ones():
    message = "unknown student layer 'stage9'; known: stage1, stage2"
    with pytest.raises(ConfigError, match=message):
        losses.layer_losses(STUDENT, TEACHER, [("stage9", "block1")])
    with pytest.raises(ConfigError, match=r"unknown teacher layer 'blok1'.* mean 'block1'"):
        losses.init_layers(KEY, STUDENT, TEACHER, [("stage1", "blok1")], adapters.linear())


def test_layers_of_unlike_width_need_an_adapter():
    message = r"layers stage1->block1 must have one rank and width, got \(4, 6, 4, 3\) and \(4, 5, "
    with pytest.raises(ValueError, match=message):
        losses.layer_losses(STUDENT, TEACHER, [("stage1", "block1")])


def test_adapter_and_parameters_come_together_and_for_every_pair():
    adapter = adapters.linear()
    with pytest.raises(ValueError, match="pass adapter and params together, got adapter Adapter"):
        losses.layer_losses(STUDENT, TEACHER, WEIGHTS, adapter=adapter)
    params = losses.init_layers(KEY, STUDENT, TEACHER, [("stage1", "block1")], adapter)
    message = r"params has no adapter 'stage2->block2'; it has \['stage1->block1'\]"
    with pytest.raises(ValueError, match=message):
        losses.layer_losses(STUDENT, TEACHER, WEIGHTS, adapter=adapter, params=params)


def test_a_loss_of_no_layers_is_refused():
    with pytest.raises(ValueError, match="there is no loss term"):
        losses.layer_loss(STUDENT, TEACHER, {})
