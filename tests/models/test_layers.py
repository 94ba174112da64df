"""Convolution, pooling and batch normalization."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from model_cases import normal

from fdcmkd_jax.models.layers import BatchNorm, max_pool, patch_convolution


@pytest.mark.parametrize(
    ("size", "strides", "edge"),
    [
        (1, 1, 6),
        (1, 2, 7),
        (3, 1, 5),
        (3, 2, 8),
        (3, 2, 9),
        (7, 2, 11),
        (3, 1, 1),
        (3, 1, 2),
        (5, 2, 4),  # Maps of no more positions than the kernel.
    ],
)
def test_a_convolution_by_patches_equals_xlas_with_its_gradients(size, strides, edge):
    pad = size // 2
    x, kernel = normal(0, 2, edge, edge + 1, 3), normal(1, size, size, 3, 4)

    def by_patches(x, kernel):
        return patch_convolution(x, kernel, (strides, strides), ((pad, pad), (pad, pad)))

    def by_xla(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (strides, strides),
            ((pad, pad), (pad, pad)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    weights = normal(2, *jax.eval_shape(by_xla, x, kernel).shape)
    results = []
    for convolution in (by_patches, by_xla):
        value, pullback = jax.vjp(jax.jit(convolution), x, kernel)
        results.append((value, *pullback(weights)))
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("sides", "taps", "padding"),
    [((9, 8), (3, 1), ((1, 1), (0, 0))), ((4, 2), (5, 3), ((3, 1), (0, 2)))],
)
def test_strides_and_padding_along_height_and_width_are_kept_apart(sides, taps, padding):
    x, kernel = normal(0, 2, *sides, 3), normal(1, *taps, 3, 4)
    actual = patch_convolution(x, kernel, (2, 1), padding)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (2, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(8, 7), (1, 2)])
def test_max_pool_equals_flaxs_with_its_gradient(height, width):
    x = normal(0, 2, height, width, 3)  # no two numbers are equal, so no maximum is tied
    by_flax = functools.partial(
        nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1))
    )
    weights = normal(1, *jax.eval_shape(by_flax, x).shape)
    results = []
    for pool in (max_pool, by_flax):
        value, pullback = jax.vjp(jax.jit(pool), x)
        results.append((value, *pullback(weights)))
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_a_tied_maximum_shares_its_gradient():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x))))(jnp.ones((1, 4, 4, 1)))
    np.testing.assert_allclose(jnp.sum(gradient), 4.0)  # one for each maximum
    assert np.sum(gradient > 0) > 4


def test_max_pool_never_returns_its_padding():
    np.testing.assert_array_equal(max_pool(jnp.full((1, 3, 3, 1), -5.0)), np.full((1, 2, 2, 1), -5))


X = 3.0 + 2.0 * normal(0, 6, 4, 5, 3)


SCALE, BIAS = np.array([1.0, 2.0, -0.5]), np.array([0.0, 1.0, -1.0])


VARIABLES = {
    "params": {"scale": jnp.asarray(SCALE, jnp.float32), "bias": jnp.asarray(BIAS, jnp.float32)},
    "batch_stats": {"mean": jnp.array([1.0, 2.0, 3.0]), "var": jnp.array([0.5, 1.0, 2.0])},
}


@functools.partial(jax.jit, static_argnames="axis_name")
def normalize(x, mask=None, *, axis_name=None):
    """BatchNorm in training: the result and the new running statistics."""
    y, updates = BatchNorm(axis_name=axis_name).apply(
        VARIABLES, x, train=True, mask=mask, mutable=["batch_stats"]
    )
    return y, updates["batch_stats"]


def test_in_training_batchnorm_uses_the_batchs_biased_variance():
    y, _ = normalize(X)
    x = np.asarray(X, np.float64)
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * SCALE + BIAS
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_the_running_variance_is_the_unbiased_one():
    _, stats = normalize(X)
    x = np.asarray(X, np.float64)
    mean = 0.9 * np.array([1.0, 2.0, 3.0]) + 0.1 * x.mean((0, 1, 2))
    var = 0.9 * np.array([0.5, 1.0, 2.0]) + 0.1 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-5)


def test_in_evaluation_batchnorm_uses_the_running_statistics():
    y = BatchNorm().apply(VARIABLES, X, train=False)
    mean, var = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0])
    expected = (np.asarray(X, np.float64) - mean) / np.sqrt(var + 1e-5) * SCALE + BIAS
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_batchnorm_starts_as_the_standard_normal():
    variables = BatchNorm().init(jax.random.key(0), X, train=True)
    assert {key: sorted(tree) for key, tree in variables.items()} == {
        "params": ["bias", "scale"],
        "batch_stats": ["mean", "var"],
    }
    np.testing.assert_array_equal(variables["params"]["scale"], np.ones(3))
    np.testing.assert_array_equal(variables["params"]["bias"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


@pytest.mark.parametrize("padding", [0.0, 1e6, np.nan])
def test_batchnorm_statistics_are_those_of_the_rows_inside_the_mask(padding):
    mask = np.array([True, False, True, True, False, True])
    y, stats = normalize(X.at[~mask].set(padding), jnp.asarray(mask))
    expected_y, expected_stats = normalize(X[mask])
    np.testing.assert_allclose(y[mask], expected_y, rtol=1e-5, atol=1e-5)
    for name, value in expected_stats.items():
        np.testing.assert_allclose(stats[name], value, rtol=1e-6, err_msg=name)


def test_a_mask_without_padding_changes_nothing():
    for one, other in zip(
        jax.tree.leaves(normalize(X, jnp.ones(6, bool))), jax.tree.leaves(normalize(X)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_two_devices_with_uneven_padding_normalize_like_one():
    mask = np.array([True, True, True, True, False, False])  # three rows and one row
    shares = jax.tree.map(lambda x: jnp.reshape(x, (2, 3, *x.shape[1:])), (X, jnp.asarray(mask)))
    synchronized = functools.partial(normalize, axis_name="batch")
    y, stats = jax.pmap(synchronized, axis_name="batch", devices=jax.devices()[:2])(*shares)
    expected_y, expected_stats = normalize(X[:4])
    np.testing.assert_allclose(y.reshape(X.shape)[mask], expected_y, rtol=1e-5, atol=1e-5)
    for name, value in expected_stats.items():
        for device in range(2):
            np.testing.assert_allclose(stats[name][device], value, rtol=1e-6, err_msg=name)


def test_gradients_of_a_sum_over_two_devices_are_those_on_one():
    mask = np.array([True, True, True, True, False, False])
    weights = normal(1, *X.shape)

    def total(x, mask, weights, axis_name):
        y, _ = normalize(x, mask, axis_name=axis_name)
        return jnp.sum(jnp.where(mask[:, None, None, None], weights * y, 0))

    arguments = (X, jnp.asarray(mask), weights)
    shares = jax.tree.map(lambda x: jnp.reshape(x, (2, 3, *x.shape[1:])), arguments)
    gradient = jax.pmap(
        jax.grad(functools.partial(total, axis_name="batch")),
        axis_name="batch",
        devices=jax.devices()[:2],
    )(*shares)
    expected = jax.jit(jax.grad(functools.partial(total, axis_name=None)))(*arguments)
    np.testing.assert_allclose(gradient.reshape(X.shape), expected, rtol=1e-4, atol=1e-5)


def test_without_an_axis_name_each_device_keeps_its_own_statistics():
    shares = X.reshape(2, 3, *X.shape[1:])
    _, stats = jax.pmap(normalize, axis_name="batch", devices=jax.devices()[:2])(shares)
    for device in range(2):
        expected = normalize(X[3 * device : 3 * device + 3])[1]
        np.testing.assert_allclose(stats["mean"][device], expected["mean"], rtol=1e-6)


def test_batchnorm_computes_bfloat16_wide():
    narrow = X.astype(jnp.bfloat16)
    y, updates = BatchNorm(dtype=jnp.bfloat16).apply(
        VARIABLES, narrow, train=True, mutable=["batch_stats"]
    )
    assert y.dtype == jnp.bfloat16
    expected_y, expected_stats = normalize(narrow.astype(jnp.float32))
    np.testing.assert_allclose(np.asarray(y, np.float32), expected_y, rtol=2**-8, atol=1e-5)
    for name, value in updates["batch_stats"].items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected_stats[name], rtol=1e-6, err_msg=name)
