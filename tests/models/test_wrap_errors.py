"""Functions and NNX modules that break the contract of `models.wrap`."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from fdcmkd_jax.models.wrap import from_function, from_nnx
from fdcmkd_jax.types import Outputs

KEY = jax.random.key(0)
X = jnp.ones((6, 8, 8, 2))


def test_variables_that_the_training_state_would_lose_are_refused():
    class Counter(nnx.Variable):
        pass

    class Counting(nnx.Module):
        def __init__(self, *, rngs):
            self.calls = Counter(jnp.zeros(()))

    message = r"must be nnx.Param or nnx.BatchStat, got Counter at calls\."
    with pytest.raises(ValueError, match=message):
        from_nnx(Counting).init(KEY, X, train=False)


def test_functions_must_take_perturb():
    message = r"apply must take the keyword perturb, .* it takes \(params, x\)\."
    with pytest.raises(ValueError, match=message):
        from_function(lambda params, x: x, lambda key, x: {})

    class Plain(nnx.Module):
        def __init__(self, *, rngs):
            pass

        def __call__(self, x):
            return x

    message = r"Plain must take the keyword perturb, .* it takes \(x\)\."
    with pytest.raises(ValueError, match=message):
        from_nnx(Plain).init(KEY, X, train=False)


@pytest.mark.parametrize("calls", [0, 2])
def test_perturb_must_be_called_exactly_once(calls):
    def apply(params, x, *, perturb):
        features = x.reshape(x.shape[0], -1)
        for _ in range(calls):
            features = perturb(features)
        return Outputs(logits=features, features=features)

    message = f"apply must call perturb exactly once, on its features; got {calls} calls"
    with pytest.raises(ValueError, match=message):
        from_function(apply, lambda key, x: {}).init(KEY, X, train=False)


@pytest.mark.usefixtures("without_type_checks")
def test_functions_must_return_outputs():
    def apply(params, x, *, perturb):
        return (perturb(x), x)

    with pytest.raises(ValueError, match="apply must return Outputs, got tuple"):
        from_function(apply, lambda key, x: {}).init(KEY, X, train=False)
