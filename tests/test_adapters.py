"""Adapters of width and resolution, without a model or a method."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from fdcmkd_jax import adapters

KEY = jax.random.key(0)

each_adapter = pytest.mark.parametrize(
    ("adapter", "lead"),
    [
        (adapters.linear(), (4,)),
        (adapters.linear(), (4, 3)),
        (adapters.linear(), (4, 3, 5)),
        (adapters.mlp(), (4,)),
        (adapters.mlp(hidden=10), (4, 3)),
        (adapters.conv1x1(), (4, 3, 5)),
    ],
    ids=["linear", "linear-frames", "linear-maps", "mlp", "mlp-frames", "conv1x1"],
)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@each_adapter
def test_an_adapter_maps_the_last_axis_and_keeps_the_others(adapter, lead):
    params = adapter.init(KEY, 6, 8)
    y = adapter.apply(params, normal(0, *lead, 6))
    assert y.shape == (*lead, 8)
    assert y.dtype == jnp.float32


@each_adapter
def test_an_adapter_maps_every_position_alone(adapter, lead):
    params, x = adapter.init(KEY, 6, 8), normal(0, *lead, 6)
    changed = adapter.apply(params, x.at[0].set(5.0))
    np.testing.assert_array_equal(changed[1:], adapter.apply(params, x)[1:])


@each_adapter
def test_an_adapter_learns_a_map_in_a_plain_optax_loop(adapter, lead):
    x = normal(0, *lead, 6)
    target = jnp.tanh(x @ normal(1, 6, 8))
    params = adapter.init(KEY, 6, 8)
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        def loss(params):
            return jnp.mean(jnp.square(adapter.apply(params, x) - target))

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    values = []
    for _ in range(100):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values[-1] < 0.3 * values[0]


@each_adapter
def test_an_adapter_refuses_features_of_another_width(adapter, lead):
    params = adapter.init(KEY, 6, 8)
    with pytest.raises(ValueError, match=r"maps width 6 to \d+, got an array of shape \(.*, 7\)"):
        adapter.apply(params, jnp.ones((*lead, 7)))


def test_a_linear_adapter_is_a_matrix_product_and_a_bias():
    adapter = adapters.linear()
    params = adapter.init(KEY, 6, 8)
    np.testing.assert_array_equal(params["bias"], np.zeros(8))
    params = {**params, "bias": normal(1, 8)}
    x = normal(0, 4, 6)
    kernel, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "bias"))
    expected = np.asarray(x, np.float64) @ kernel + bias
    np.testing.assert_allclose(adapter.apply(params, x), expected, rtol=1e-5, atol=1e-6)


def test_a_linear_kernel_starts_with_xaviers_variance():
    kernel = adapters.linear().init(KEY, 300, 500)["kernel"]
    np.testing.assert_allclose(np.std(kernel), (2 / 800) ** 0.5, rtol=0.01)


def test_a_linear_adapter_can_leave_equal_widths_alone():
    adapter = adapters.linear(always=False)
    x = normal(0, 4, 6)
    assert adapter.init(KEY, 6, 6) == {}
    assert adapter.apply({}, x) is x
    assert adapter.apply(adapter.init(KEY, 6, 8), x).shape == (4, 8)


def test_an_mlp_is_two_dense_layers_with_a_relu_between():
    adapter = adapters.mlp(hidden=10)
    params, x = adapter.init(KEY, 6, 8), normal(0, 4, 6)
    hidden = np.maximum(np.asarray(x) @ np.asarray(params["hidden"]["kernel"], np.float64), 0)
    expected = hidden @ np.asarray(params["last"]["kernel"], np.float64)
    np.testing.assert_allclose(adapter.apply(params, x), expected, rtol=1e-4, atol=1e-5)


def test_an_mlps_hidden_layer_has_the_width_out_by_default():
    params = adapters.mlp().init(KEY, 6, 8)
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes["hidden"] == {"kernel": (6, 8), "bias": (8,)}
    assert shapes["last"] == {"kernel": (8, 8), "bias": (8,)}


def test_an_mlp_refuses_a_negative_width():
    with pytest.raises(ValueError, match="hidden must not be negative, got -1"):
        adapters.mlp(hidden=-1)


def test_a_1x1_convolution_equals_pytorchs():
    adapter = adapters.conv1x1()
    params, x = adapter.init(KEY, 6, 8), normal(0, 4, 3, 5, 6)
    weight = torch.tensor(np.asarray(params["kernel"]).T[:, :, None, None])
    theirs = torch.nn.functional.conv2d(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2), weight)
    expected = theirs.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(adapter.apply(params, x), expected, rtol=1e-5, atol=1e-5)


def test_a_1x1_convolution_refuses_anything_but_maps():
    adapter = adapters.conv1x1()
    message = r"a 1x1 convolution maps \[N, H, W, C\], got shape \(4, 6\)"
    with pytest.raises(ValueError, match=message):
        adapter.apply(adapter.init(KEY, 6, 8), jnp.ones((4, 6)))


# Resolution


@pytest.mark.parametrize("size", [(2, 2), (7, 3), (8, 6), (1, 1), (5, 4)])
def test_maps_are_resized_as_by_pytorch(size):
    x = normal(0, 2, 5, 4, 3)
    theirs = torch.nn.functional.interpolate(
        torch.tensor(np.asarray(x)).permute(0, 3, 1, 2), size=size, mode="bilinear"
    )
    actual = adapters.resize_maps(x, jnp.zeros((2, *size, 9)))
    np.testing.assert_allclose(actual, theirs.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-6)


def test_maps_of_one_size_pass_unchanged_and_wide():
    x = normal(0, 2, 5, 4, 3)
    np.testing.assert_array_equal(adapters.resize_maps(x, jnp.zeros((2, 5, 4, 9))), x)
    narrow = adapters.resize_maps(x.astype(jnp.bfloat16), jnp.zeros((2, 5, 4, 9)))
    assert narrow.dtype == jnp.float32


def test_resizing_is_the_same_under_jit_vmap_and_pmap(transform):
    x = normal(0, 4, 5, 4, 3)

    def resize(x):
        return adapters.resize_maps(x, jnp.zeros((len(x), 3, 7, 1)))

    np.testing.assert_allclose(transform(resize)(x), resize(x), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("shape", "like"), [((2, 6), (2, 4, 4, 6)), ((2, 4, 4, 6), (2, 6)), ((2, 3, 6), (2, 5, 6))]
)
def test_resizing_refuses_anything_but_maps(shape, like):
    with pytest.raises(ValueError, match=r"maps must have shape \[N, H, W, C\], got \("):
        adapters.resize_maps(jnp.ones(shape), jnp.ones(like))
