import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fdcmkd_jax import models
from fdcmkd_jax.models.layers import BatchNorm, max_pool, patch_convolution
from fdcmkd_jax.tables import ConfigError

N, K = 4, 5

each_model = pytest.mark.parametrize("name", models.names())


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def initial_shapes(module, *shape, train=False):
    """The variables a model starts with, as shapes; nothing is computed."""
    return jax.eval_shape(
        functools.partial(module.init, train=train), jax.random.key(0), jnp.zeros(shape)
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@functools.cache
def set_up(name):
    """A model, variables as in the midst of training, and images of two channels."""
    module, x = models.make(name, num_classes=K), normal(0, N, 18, 14, 2)
    rng = np.random.default_rng(1)

    def some(path, leaf):
        numbers = rng.normal(size=leaf.shape)
        if path[-1].key == "kernel":
            numbers *= np.prod(leaf.shape[:-1]) ** -0.5  # keeps activations near 1
        else:
            numbers = 0.1 * numbers + (path[-1].key in ("scale", "var"))
        return jnp.asarray(numbers, leaf.dtype)

    variables = jax.tree.map_with_path(some, initial_shapes(module, *x.shape))
    return module, {key: variables[key] for key in ("params", "batch_stats")}, x


@functools.cache
def evaluate(name):
    """``(variables, x) -> (Outputs, what each block returned)`` with running statistics."""

    def is_block(layer, call):
        return (layer.name or "").startswith("layer")

    module = set_up(name)[0]
    return jax.jit(functools.partial(module.apply, train=False, capture_intermediates=is_block))


@functools.cache
def train(name):
    """``(variables, x, mask) -> (Outputs, updates)`` with batch statistics."""
    module = set_up(name)[0]
    return jax.jit(
        lambda variables, x, mask: module.apply(
            variables, x, train=True, mask=mask, mutable=["batch_stats"]
        )
    )


# Contract of every model


@each_model
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_outputs_have_the_contracts_shapes_for_any_number_of_channels(name, channels):
    module = models.make(name, num_classes=K)
    x = jnp.zeros((N, 33, 26, channels))

    def run(x, train):
        variables = module.init(jax.random.key(0), x, train=train)
        return module.apply(variables, x, train=train, mutable=["batch_stats"])[0]

    for training in (False, True):
        outputs = jax.eval_shape(functools.partial(run, train=training), x)
        assert (outputs.logits.shape, outputs.logits.dtype) == ((N, K), jnp.float32)
        assert outputs.features.dtype == jnp.float32
        assert outputs.features.ndim == 2
        assert outputs.features.shape[0] == N
        assert outputs.maps
        for feature_map in outputs.maps.values():
            assert feature_map.ndim == 4
            assert feature_map.shape[0] == N


@each_model
def test_a_shift_of_the_features_perturbation_moves_the_features_by_just_that(name):
    module, variables, x = set_up(name)
    shape = initial_shapes(module, *x.shape)["perturbations"]["features"].shape
    shift = normal(2, *shape)
    before, _ = evaluate(name)(variables, x)
    after, _ = evaluate(name)({**variables, "perturbations": {"features": shift}}, x)
    expected = before.features + shift.reshape(before.features.shape)
    np.testing.assert_allclose(after.features, expected, rtol=0, atol=2e-6)
    assert np.all(after.logits != before.logits)


@each_model
def test_a_model_without_the_perturbation_is_one_whose_shift_is_zero(name):
    module, variables, x = set_up(name)
    shape = initial_shapes(module, *x.shape)["perturbations"]["features"].shape
    absent, _ = evaluate(name)(variables, x)
    zero, _ = evaluate(name)({**variables, "perturbations": {"features": jnp.zeros(shape)}}, x)
    for one, other in zip(jax.tree.leaves(absent), jax.tree.leaves(zero), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


@each_model
def test_evaluation_sees_each_example_alone(name):
    _, variables, x = set_up(name)
    together, _ = evaluate(name)(variables, x)
    others, _ = evaluate(name)(variables, x.at[1:].set(7.0))
    np.testing.assert_array_equal(together.features[0], others.features[0])
    np.testing.assert_array_equal(together.logits[0], others.logits[0])
    assert np.all(together.logits[1:] != others.logits[1:])


@each_model
def test_training_updates_every_running_statistic(name):
    _, variables, x = set_up(name)
    _, updates = train(name)(variables, x, jnp.ones(N, bool))
    before, after = variables["batch_stats"], updates["batch_stats"]
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert np.all(old != new)


@each_model
def test_padding_rows_change_neither_the_other_rows_nor_the_statistics(name):
    _, variables, x = set_up(name)
    mask = jnp.array([True, True, False, True])
    outputs, updates = train(name)(variables, x, mask)
    garbage, garbage_updates = train(name)(variables, x.at[2].set(1e3), mask)
    np.testing.assert_array_equal(outputs.logits[mask], garbage.logits[mask])
    np.testing.assert_array_equal(outputs.features[mask], garbage.features[mask])
    jax.tree.map(np.testing.assert_array_equal, updates, garbage_updates)


@each_model
def test_bfloat16_activations_keep_parameters_statistics_features_and_logits_float32(name):
    module = models.make(name, num_classes=K, dtype="bfloat16")
    variables = initial_shapes(module, N, 32, 32, 1)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    apply = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    outputs, updates = jax.eval_shape(apply, variables, jnp.zeros((N, 32, 32, 1)))
    assert (outputs.logits.dtype, outputs.features.dtype) == (jnp.float32, jnp.float32)
    assert {each.dtype for each in outputs.maps.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


@each_model
def test_a_synchronised_model_starts_outside_its_mapped_axis_and_like_any_other(name):
    modules = [models.make(name, num_classes=K, axis_name=axis) for axis in ("batch", None)]
    for training in (False, True):
        synchronised, plain = (initial_shapes(m, N, 32, 32, 1, train=training) for m in modules)
        assert synchronised == plain


# The table


def test_names_are_sorted():
    assert list(models.names()) == sorted(models.names())
    assert {"resnet", "resnet_tiny"} <= set(models.names())  # Other tests add toys.


def test_a_misspelt_model_is_refused_with_the_nearest_name():
    message = r"^unknown model 'resnet_tyni'; known: .*\. Did you mean 'resnet_tiny'\?$"
    with pytest.raises(ConfigError, match=message):
        models.make("resnet_tyni", num_classes=K)


def test_an_unknown_option_is_refused():
    message = "unknown option of model 'resnet_tiny': 'depth'; known: dtype"
    with pytest.raises(ConfigError, match=message):
        models.make("resnet_tiny", num_classes=K, depth=18)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"depth": 20}, r"depth must be one of \[18, 34, 50\], got 20"),
        (
            *("resnet", {"dtype": "float16"}),
            r"dtype must be one of \['bfloat16', 'float32', 'float64'\], got",
        ),
        ("resnet_tiny", {"dtype": "half"}, r"dtype must be one of .*, got 'half'"),
    ],
)
def test_a_bad_value_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=f"model '{name}': {message}"):
        models.make(name, num_classes=K, **options)


# ResNets


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


# Layers


@pytest.mark.parametrize(
    ("size", "strides", "edge"),
    [(1, 1, 6), (1, 2, 7), (3, 1, 5), (3, 2, 8), (3, 2, 9), (7, 2, 11)],
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


def test_strides_along_height_and_width_are_kept_apart():
    x, kernel = normal(0, 2, 9, 8, 3), normal(1, 3, 1, 3, 4)
    actual = patch_convolution(x, kernel, (2, 1), ((1, 1), (0, 0)))
    expected = jax.lax.conv_general_dilated(
        x, kernel, (2, 1), ((1, 1), (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC")
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


# BatchNorm

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


def test_two_devices_with_uneven_padding_normalise_like_one():
    mask = np.array([True, True, True, True, False, False])  # three rows and one row
    shares = jax.tree.map(lambda x: jnp.reshape(x, (2, 3, *x.shape[1:])), (X, jnp.asarray(mask)))
    synchronised = functools.partial(normalize, axis_name="batch")
    y, stats = jax.pmap(synchronised, axis_name="batch", devices=jax.devices()[:2])(*shares)
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
