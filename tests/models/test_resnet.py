"""The residual networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import K, evaluate, initial_shapes, set_up

from fdcmkd_jax import models


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_kernels_start_as_untruncated_normals_of_the_public_codes_variance():
    module = models.make("resnet_tiny", num_classes=500)

    @jax.jit  # Only what is returned is drawn.
    def start(key):
        params = module.init(key, jnp.zeros((1, 28, 28, 1)), train=False)["params"]
        return params["layer4_0"]["conv2"]["kernel"], params["fc"]

    convolution, dense = start(jax.random.key(0))  # 3x3 to 128 channels, and 128 to 500
    for kernel, variance in ((convolution, 2 / (9 * 128)), (dense["kernel"], 2 / (128 + 500))):
        # At least 64,000 numbers: the deviation is known to 0.3 %, the share to 0.1 %.
        np.testing.assert_allclose(np.std(kernel), variance**0.5, rtol=0.02)
        beyond = np.mean(np.abs(kernel) > 2 * variance**0.5)
        np.testing.assert_allclose(beyond, 0.0455, atol=0.005)
    np.testing.assert_array_equal(dense["bias"], np.zeros(500))


# Parameter counts of torchvision's resnet18, resnet34 and resnet50.
@pytest.mark.parametrize(
    ("depth", "parameters", "width"),
    [(18, 11_689_512, 512), (34, 21_797_672, 512), (50, 25_557_032, 2048)],
)
def test_a_resnet_has_torchvisions_parameters_and_feature_width(depth, parameters, width):
    module = models.make("resnet", num_classes=1000, depth=depth)
    variables = initial_shapes(module, 1, 64, 64, 3)
    assert count(variables["params"]) == parameters
    assert variables["perturbations"]["features"].shape == (1, 1, 1, width)


def test_resnet_tiny_has_as_many_parameters_as_counted_by_hand():
    def convolution(size, channels, features):  # and its BatchNorm's scale and bias
        return size * size * channels * features + 2 * features

    def block(channels, features):
        return convolution(3, channels, features) + convolution(3, features, features)

    stem, head = convolution(3, 1, 16), 128 * 10 + 10
    blocks = block(16, 16) + block(16, 32) + block(32, 64) + block(64, 128) + block(128, 128)
    shortcuts = convolution(1, 16, 32) + convolution(1, 32, 64) + convolution(1, 64, 128)
    assert stem + blocks + shortcuts + head == 603_962
    variables = initial_shapes(models.make("resnet_tiny", num_classes=10), 1, 28, 28, 1)
    assert count(variables["params"]) == 603_962


@pytest.mark.parametrize(
    ("name", "options", "size", "maps"),
    [
        ("resnet", {"depth": 18}, 224, [(56, 64), (28, 128), (14, 256), (7, 512)]),
        ("resnet", {"depth": 50}, 224, [(56, 256), (28, 512), (14, 1024), (7, 2048)]),
        ("resnet_tiny", {}, 28, [(14, 16), (7, 32), (4, 64), (2, 128), (2, 128)]),
    ],
)
def test_each_stage_has_the_size_and_width_of_its_layout(name, options, size, maps):
    module = models.make(name, num_classes=K, **options)
    x = jnp.zeros((1, size, size, 3))
    variables = initial_shapes(module, *x.shape)
    outputs = jax.eval_shape(functools.partial(module.apply, train=False), variables, x)
    shapes = {f"stage{i}": (1, edge, edge, width) for i, (edge, width) in enumerate(maps, 1)}
    assert {stage: each.shape for stage, each in outputs.maps.items()} == shapes


@pytest.mark.parametrize("name", ["resnet", "resnet_tiny"])
def test_features_are_read_before_the_last_relu_and_logits_after_it(name):
    _, variables, x = set_up(name)
    outputs, state = evaluate(name)(variables, x)
    blocks = state["intermediates"]
    last = np.asarray(blocks[max(blocks)]["__call__"][0], np.float64)
    assert np.any(last < 0)
    np.testing.assert_allclose(outputs.features, last.mean((1, 2)), rtol=1e-5, atol=1e-6)
    classifier = jax.tree.map(np.asarray, variables["params"]["fc"])
    expected = np.maximum(last, 0).mean((1, 2)) @ classifier["kernel"] + classifier["bias"]
    np.testing.assert_allclose(outputs.logits, expected, rtol=1e-4, atol=1e-5)
    final_map = outputs.maps[max(outputs.maps)]
    np.testing.assert_array_equal(final_map, np.maximum(last, 0).astype(np.float32))


def test_resnet_tiny_is_the_same_network_with_patches_and_without():
    module, variables, x = set_up("resnet_tiny")
    assert module.patches  # the tests run on a CPU
    ordinary = module.clone(patches=False)
    assert initial_shapes(ordinary, *x.shape) == initial_shapes(module, *x.shape)
    expected = jax.jit(functools.partial(ordinary.apply, train=False))(variables, x)
    actual, _ = evaluate("resnet_tiny")(variables, x)
    np.testing.assert_allclose(actual.logits, expected.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(actual.features, expected.features, rtol=1e-4, atol=1e-5)
