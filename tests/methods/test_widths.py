"""Students and teachers of unlike widths, as BERT, MobileNetV2 and a ResNet have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdcmkd_jax import adapters, methods, tasks
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Outputs

N, K = 4, 3


def outputs(width):
    random = np.random.default_rng(width)
    logits, features = (random.normal(size=(N, size)).astype(np.float32) for size in (K, width))
    return Outputs(logits=jnp.asarray(logits), features=jnp.asarray(features))


def terms_and_params(name, student, teacher, **options):
    method = methods.make(name, **options)
    targets = tasks.make("classification", num_classes=K).targets(jnp.arange(N) % K)
    params, memory = method.init(jax.random.key(0), outputs(student), outputs(teacher), K)
    terms, _ = method.terms(params, memory, outputs(student), outputs(teacher), targets)
    return terms, params["adapter"]


@pytest.mark.parametrize("name", ["fd_cmkd", "mse"])
@pytest.mark.parametrize(("student", "teacher"), [(768, 1280), (1280, 768), (512, 768)])
@pytest.mark.parametrize("adapter", ["auto", "linear", "mlp"])
def test_features_of_unlike_widths_are_compared_at_the_teachers(name, student, teacher, adapter):
    terms, params = terms_and_params(name, student, teacher, adapter=adapter)
    assert all(np.all(np.isfinite(term)) and term.shape == (N,) for term in terms.values())
    last = params["last"] if adapter == "mlp" else params
    first = params["hidden"] if adapter == "mlp" else params
    assert (first["kernel"].shape[0], last["kernel"].shape[1]) == (student, teacher)


def test_equal_widths_are_mapped_only_if_the_config_says_so():
    for name in ("fd_cmkd", "mse"):
        shapes = {
            kind: jax.tree.map(jnp.shape, terms_and_params(name, 16, 16, adapter=kind)[1])
            for kind in ("auto", "linear", "mlp")
        }
        layer = {"kernel": (16, 16), "bias": (16,)}
        assert shapes == {"auto": {}, "linear": layer, "mlp": {"hidden": layer, "last": layer}}


def test_the_chosen_map_is_the_one_that_users_call():
    x = outputs(16).features
    for kind, own in (("linear", adapters.linear()), ("mlp", adapters.mlp())):
        chosen = adapters.choose(kind)
        params = own.init(jax.random.key(1), 16, 24)
        np.testing.assert_array_equal(chosen.apply(params, x), own.apply(params, x))


@pytest.mark.usefixtures("without_type_checks")
def test_an_unknown_adapter_is_refused():
    message = "adapter must be 'auto', 'linear' or 'mlp', got 'conv'"
    with pytest.raises(ConfigError, match=message):
        methods.make("mse", adapter="conv")
