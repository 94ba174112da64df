"""The contract that every model keeps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_cases import (
    DENSE,
    TEXT,
    WITHOUT_MAPS,
    K,
    N,
    evaluate,
    inputs,
    make,
    normal,
    set_up,
    shapes_of,
    train,
)

from fdcmkd_jax import models
from fdcmkd_jax.registry import ConfigError

each_model = pytest.mark.parametrize("name", models.names())


@each_model
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_outputs_have_the_contracts_shapes_for_any_number_of_channels(name, channels):
    module, x = make(name), inputs(name, 33, 26, channels)

    def run(x, train):
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        variables = module.init(keys, x, train=train)
        rngs = {"dropout": jax.random.key(2)}
        return module.apply(variables, x, train=train, mutable=["batch_stats"], rngs=rngs)[0]

    for training in (False, True):
        outputs = jax.eval_shape(functools.partial(run, train=training), x)
        positions = x.shape[1:3] if name in DENSE else ()
        assert (outputs.logits.shape, outputs.logits.dtype) == ((N, *positions, K), jnp.float32)
        assert outputs.features.dtype == jnp.float32
        assert outputs.features.ndim == (4 if name in DENSE else 2)
        assert outputs.features.shape[0] == N
        assert bool(outputs.maps) == (name not in WITHOUT_MAPS)
        for feature_map in outputs.maps.values():
            assert feature_map.ndim == 4
            assert feature_map.shape[0] == N


@each_model
def test_a_shift_of_the_features_perturbation_moves_the_features_by_just_that(name):
    module, variables, x = set_up(name)
    shape = shapes_of(module, x)["perturbations"]["features"].shape
    shift = normal(2, *shape)
    before, _ = evaluate(name)(variables, x)
    after, _ = evaluate(name)({**variables, "perturbations": {"features": shift}}, x)
    expected = before.features + shift.reshape(before.features.shape)
    np.testing.assert_allclose(after.features, expected, rtol=0, atol=2e-6)
    assert np.all(after.logits != before.logits)


@each_model
def test_a_model_without_the_perturbation_is_one_whose_shift_is_zero(name):
    module, variables, x = set_up(name)
    shape = shapes_of(module, x)["perturbations"]["features"].shape
    absent, _ = evaluate(name)(variables, x)
    zero, _ = evaluate(name)({**variables, "perturbations": {"features": jnp.zeros(shape)}}, x)
    for one, other in zip(jax.tree.leaves(absent), jax.tree.leaves(zero), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


@each_model
def test_evaluation_sees_each_example_alone(name):
    _, variables, x = set_up(name)
    together, _ = evaluate(name)(variables, x)
    others, _ = evaluate(name)(variables, x.at[1:].set(7))
    np.testing.assert_array_equal(together.features[0], others.features[0])
    np.testing.assert_array_equal(together.logits[0], others.logits[0])
    assert np.all(together.logits[1:] != others.logits[1:])


@each_model
def test_training_updates_every_running_statistic(name):
    _, variables, x = set_up(name)
    _, updates = train(name)(variables, x, jnp.ones(N, bool))
    before, after = variables["batch_stats"], updates.get("batch_stats", {})
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert np.all(old != new)


@each_model
def test_padding_rows_change_neither_the_other_rows_nor_the_statistics(name):
    _, variables, x = set_up(name)
    mask = jnp.array([True, True, False, True])
    outputs, updates = train(name)(variables, x, mask)
    garbage, garbage_updates = train(name)(variables, x.at[2].set(30), mask)
    np.testing.assert_array_equal(outputs.logits[mask], garbage.logits[mask])
    np.testing.assert_array_equal(outputs.features[mask], garbage.features[mask])
    jax.tree.map(np.testing.assert_array_equal, updates, garbage_updates)


@each_model
def test_bfloat16_activations_keep_parameters_statistics_features_and_logits_float32(name):
    module, x = make(name, dtype="bfloat16"), inputs(name)
    variables = shapes_of(module, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    apply = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    rngs = {"dropout": jax.random.key(0)}
    outputs, updates = jax.eval_shape(functools.partial(apply, rngs=rngs), variables, x)
    assert (outputs.logits.dtype, outputs.features.dtype) == (jnp.float32, jnp.float32)
    assert {each.dtype for each in outputs.maps.values()} <= {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} <= {jnp.dtype("float32")}


@pytest.mark.parametrize("name", [name for name in models.names() if name not in TEXT])
def test_a_synchronized_model_starts_outside_its_mapped_axis_and_like_any_other(name):
    modules = [make(name, axis_name=axis) for axis in ("batch", None)]
    for training in (False, True):
        x = inputs(name)
        synchronized, plain = (shapes_of(module, x, train=training) for module in modules)
        assert synchronized == plain


def test_names_are_sorted():
    assert list(models.names()) == sorted(models.names())
    assert {"bert", "mlp", "mobilenet_v2", "resnet", "resnet_tiny"} <= set(
        models.names()
    )  # Other tests add toys.


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
        ("resnet", {"depth": 20}, r"depth must be one of \[18, 34, 50, 101\], got 20"),
        (
            *("resnet", {"dtype": "float16"}),
            r"dtype must be one of \['bfloat16', 'float32', 'float64'\], got",
        ),
        ("resnet_tiny", {"dtype": "half"}, r"dtype must be one of .*, got 'half'"),
        ("mobilenet_v2", {"width": 0}, r"width must be positive and dropout in \[0, 1\), got 0"),
        ("mobilenet_v2", {"dropout": 1.0}, r"width must be positive .*, got 1.0 and 1.0"),
        ("mlp", {"widths": ()}, r"widths must be positive and dropout in \[0, 1\), got \[\]"),
        ("bert", {"width": 100}, r"width must be a multiple of heads, .* width 100, heads 12"),
        ("bert", {"pooling": "max"}, r"pooling must be 'cls' or 'mean', got 'max'"),
        ("bert", {"features": "token"}, r"features must be 'pooled' or 'tokens', got 'token'"),
        ("bert", {"depth": 0}, r"depth must be positive, got 0"),
    ],
)
def test_a_bad_value_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=f"model '{name}': {message}"):
        models.make(name, num_classes=K, **options)
