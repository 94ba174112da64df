"""Models made of plain functions and of NNX modules, alone and trained by the harness."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from builders import NUM_CLASSES, toy_config
from flax import linen as nn
from flax import nnx
from wrapped_nets import ConvNet, function_net, nnx_net

from fdcmkd_jax import experiment, losses, models
from fdcmkd_jax.models.wrap import from_function, from_nnx
from fdcmkd_jax.training.log import read_rows
from fdcmkd_jax.types import Outputs

N = 6
KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(N, 8, 8, 2)), jnp.float32)
LABELS = jnp.arange(N) % NUM_CLASSES

MODELS = {
    "function": functools.partial(function_net, NUM_CLASSES),
    "nnx": functools.partial(nnx_net, NUM_CLASSES, 2),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))


@functools.cache
def init(model):
    return jax.jit(functools.partial(model.init, train=False))(KEY, X)


@functools.partial(jax.jit, static_argnames=("model", "train"))
def run(model, variables, x, train=False, mask=None, key=KEY):
    """Outputs and new statistics, as the train step asks for them."""
    return model.apply(
        {name: tree for name, tree in variables.items() if name != "perturbations"},
        x,
        train=train,
        mask=mask,
        mutable=["batch_stats"],
        rngs={"dropout": key} if train else {},
    )


@each_model
def test_a_wrapped_model_is_a_linen_module_that_returns_outputs(make):
    model = make()
    assert isinstance(model, nn.Module)
    outputs, _ = run(model, init(model), X)
    assert outputs.logits.shape == (N, NUM_CLASSES)
    assert outputs.features.shape == (N, 8)
    assert {outputs.logits.dtype, outputs.features.dtype} == {jnp.dtype("float32")}


@each_model
def test_a_wrapped_model_needs_no_key_in_evaluation(make):
    model = make(dropout=0.5)
    variables = init(model)
    kept = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    outputs = model.apply(kept, X, train=False)
    again, _ = run(model, variables, X)
    np.testing.assert_allclose(outputs.logits, again.logits, rtol=1e-5, atol=1e-6)


@each_model
def test_equal_keys_draw_equal_parameters_and_other_keys_others(make):
    model = make()
    first, again, other = (
        model.init(jax.random.key(seed), X, train=False)["params"] for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernels = [[leaf for leaf in jax.tree.leaves(tree) if leaf.ndim > 1] for tree in (first, other)]
    assert all(np.all(one != two) for one, two in zip(*kernels, strict=True))


@each_model
def test_a_shift_of_the_features_moves_features_and_logits(make):
    model = make()
    variables = init(model)
    before = model.apply(variables, X, train=False)
    shift = jnp.ones_like(variables["perturbations"]["features"])
    after = model.apply({**variables, "perturbations": {"features": shift}}, X, train=False)
    np.testing.assert_allclose(after.features, before.features + 1, rtol=1e-5, atol=1e-6)
    assert np.all(after.logits != before.logits)


@each_model
def test_dropout_draws_anew_for_each_key_in_training_alone(make):
    model = make(dropout=0.5)
    variables = init(model)
    keys = (KEY, KEY, jax.random.key(1))
    first, again, other = (
        run(model, variables, X, train=True, key=key)[0].features for key in keys
    )
    np.testing.assert_array_equal(first, again)
    assert 0.2 < np.mean(np.asarray(first) == 0) < 0.9
    assert np.any((first == 0) != (other == 0))


@each_model
def test_a_wrapped_model_trains_in_a_plain_optax_loop(make):
    model = make()
    variables = init(model)
    optimizer = optax.adam(1e-2)
    params, stats = variables["params"], variables.get("batch_stats", {})
    state = optimizer.init(params)

    @jax.jit
    def step(params, stats, state):
        def loss(params):
            outputs, updates = run(model, {"params": params, "batch_stats": stats}, X, train=True)
            return jnp.mean(losses.cross_entropy(outputs.logits, LABELS)), updates

        (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        changes, state_after = optimizer.update(gradients, state)
        stats_after = updates.get("batch_stats", stats)
        return optax.apply_updates(params, changes), stats_after, state_after, value

    values = []
    for _ in range(80):
        params, stats, state, value = step(params, stats, state)
        values.append(float(value))
    assert values[-1] < 0.5 * values[0]


def test_bfloat16_features_leave_a_wrapped_model_as_float32():
    def apply(params, x, *, perturb):
        assert x.dtype == jnp.bfloat16
        features = perturb(x.reshape(len(x), -1)).astype(jnp.bfloat16)
        return Outputs(logits=features @ params.astype(jnp.bfloat16), features=features)

    model = from_function(apply, lambda key, x: jnp.ones((128, 2)))
    x = X.astype(jnp.bfloat16)
    outputs = model.apply(model.init(KEY, x, train=False), x, train=False)
    assert {outputs.logits.dtype, outputs.features.dtype} == {jnp.dtype("float32")}


def test_a_function_takes_only_the_keywords_that_it_names():
    def apply(params, x, *, mask, perturb):
        features = perturb(x.reshape(x.shape[0], -1))
        shown = jnp.where(mask[:, None], features, 0)
        return Outputs(logits=shown @ params, features=features)

    model = from_function(apply, lambda key, x: jnp.ones((128, 2)))
    mask = jnp.arange(N) < 4
    outputs = model.apply(model.init(KEY, X, train=False, mask=mask), X, train=True, mask=mask)
    assert np.all(outputs.logits[4:] == 0)
    assert np.all(outputs.logits[:4] != 0)


# NNX: statistics and random streams


def test_batchnorm_of_nnx_updates_in_training_and_is_used_in_evaluation():
    model = nnx_net(NUM_CLASSES, 2)
    variables = init(model)
    before = variables["batch_stats"]["module"]["norm"]
    np.testing.assert_array_equal(before["mean"], np.zeros(8))
    np.testing.assert_array_equal(before["var"], np.ones(8))
    trained, updates = run(model, variables, X, train=True)
    after = updates["batch_stats"]["module"]["norm"]
    kernel, bias = (variables["params"]["module"]["conv"][name] for name in ("kernel", "bias"))
    convolved = jax.lax.conv_general_dilated(
        X, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    values = np.asarray(convolved, np.float64) + np.asarray(bias)
    np.testing.assert_allclose(after["mean"], 0.1 * values.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["var"], 0.9 + 0.1 * values.var((0, 1, 2)), rtol=1e-4)
    evaluated, unchanged = run(model, variables, X)
    jax.tree.map(np.testing.assert_array_equal, unchanged["batch_stats"], variables["batch_stats"])
    assert np.any(np.abs(evaluated.features - trained.features) > 1e-3)
    moved, _ = run(model, {**variables, **updates}, X)
    assert np.any(np.abs(moved.features - evaluated.features) > 1e-3)


def test_padding_rows_do_not_enter_the_statistics_of_an_nnx_module_that_takes_the_mask():
    model = nnx_net(NUM_CLASSES, 2)
    variables, mask = init(model), jnp.arange(N) < 4
    _, padded = run(model, variables, X.at[4:].set(1e3), train=True, mask=mask)
    _, short = run(model, variables, X[:4], train=True)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), padded, short)


def test_an_nnx_model_gives_the_numbers_of_its_module():
    model = nnx_net(NUM_CLASSES, 2)
    variables = init(model)
    module = ConvNet(2, 8, NUM_CLASSES, 0.0, None, rngs=nnx.Rngs(0))
    nnx.update(
        module, nnx.merge_state(*(variables[k]["module"] for k in ("params", "batch_stats")))
    )
    module.eval()
    expected = module(X, mask=None, perturb=lambda features: features)
    actual, _ = run(model, variables, X)
    np.testing.assert_allclose(actual.logits, expected.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(actual.maps["stage1"], expected.maps["stage1"], rtol=1e-5, atol=1e-6)


def test_every_random_stream_of_an_nnx_module_follows_the_key_of_the_step():
    class Noisy(nnx.Module):
        def __init__(self, *, rngs):
            self.classifier = nnx.Linear(128, 2, rngs=rngs)
            self.rngs = rngs.fork()

        def __call__(self, x, *, train, perturb):
            x = x.reshape(x.shape[0], -1)
            if train:
                x = x + jax.random.normal(self.rngs.noise(), x.shape)
            return Outputs(logits=self.classifier(x), features=perturb(x))

    model = from_nnx(Noisy)
    variables = init(model)
    keys = (KEY, KEY, jax.random.key(1))
    first, again, other = (
        run(model, variables, X, train=True, key=key)[0].features for key in keys
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


# In the harness


def test_a_config_names_wrapped_models_by_import_path_and_trains_them(tmp_path):
    config = toy_config(
        **{
            "models": {
                "audio": {"name": "wrapped_nets:function_net", "dropout": 0.1},
                "image": {"name": "wrapped_nets:nnx_net", "channels": 2, "dropout": 0.1},
            },
            "directions": ("image->audio",),
            "optim.learning_rate": 0.2,
            "train.num_epochs": 4,
            "teacher.num_epochs": 4,
        }
    )
    results = experiment.run(config, tmp_path, with_report=False)
    for entry in (results["teachers"]["image"], results["students"]["image->audio"]):
        assert entry["test"]["accuracy"] > 0.6  # One in three by chance.
    rows = read_rows(tmp_path / "students" / "image-to-audio" / "metrics.jsonl")
    norms = [row["gradient_norms"]["task"] for row in rows if "gradient_norms" in row]
    assert norms
    assert min(norms) > 0


def test_an_import_path_builds_a_wrapped_model_once():
    options = {"name": "wrapped_nets:nnx_net", "channels": 2, "num_classes": NUM_CLASSES}
    assert models.make(**options) is models.make(**options)
