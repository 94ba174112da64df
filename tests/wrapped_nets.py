"""Models made of a plain function pair and of a Flax NNX module, as a user writes them."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from fdcmkd_jax import adapters
from fdcmkd_jax.models.wrap import from_function, from_nnx
from fdcmkd_jax.types import Outputs


def function_net(num_classes, width=8, dropout=0.0):
    """A perceptron of pure functions, for inputs of any shape."""

    def init(key, x):
        first, last = jax.random.split(key)
        return {
            "hidden": adapters.init_dense(first, math.prod(x.shape[1:]), width),
            "classifier": adapters.init_dense(last, width, num_classes),
        }

    def apply(params, x, *, train, key, perturb):
        hidden = jnp.tanh(adapters.dense(params["hidden"], x.reshape(x.shape[0], -1)))
        if train and dropout:
            kept = jax.random.bernoulli(key, 1 - dropout, hidden.shape)
            hidden = jnp.where(kept, hidden / (1 - dropout), 0)
        features = perturb(hidden)
        return Outputs(logits=adapters.dense(params["classifier"], features), features=features)

    return from_function(apply, init)


class ConvNet(nnx.Module):
    """A convolution, BatchNorm, dropout and a classifier."""

    def __init__(self, channels, width, num_classes, dropout, axis_name, *, rngs):
        self.conv = nnx.Conv(channels, width, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.9, axis_name=axis_name, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.classifier = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x, *, mask, perturb):
        """Shape ``[N, H, W, C]`` in, `Outputs` out."""
        rows = None if mask is None else mask[:, None, None, None]
        stage = nnx.relu(self.norm(self.conv(x), mask=rows))
        features = perturb(self.dropout(jnp.mean(stage, axis=(1, 2))))
        return Outputs(logits=self.classifier(features), features=features, maps={"stage1": stage})


def nnx_net(num_classes, channels, width=8, dropout=0.0, axis_name=None):
    """A `ConvNet` as a model."""
    return from_nnx(functools.partial(ConvNet, channels, width, num_classes, dropout, axis_name))
