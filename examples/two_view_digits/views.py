"""Data, models and a method of one's own, named in ``config.py`` by their import paths.

Nothing here is part of the package: the modules lie beside the config file.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from sklearn import datasets

from fdcmkd_jax import Method, Outputs, adapters, mean_squared_error, signed_log, stateless
from fdcmkd_jax.data import Dataset
from fdcmkd_jax.models.wrap import from_function, from_nnx


def digits(*, data_dir: Path, seed: int) -> Dataset:
    """Loads scikit-learn's 1,797 digits, each as a pair of views: its left and its right half.

    Args:
        data_dir: Unused; scikit-learn brings the data.
        seed: Seed of the split into 997 training, 300 validation and 500 test pairs.
    """
    del data_dir
    bunch = datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))

    def example(row: int) -> dict[str, np.ndarray]:
        image = (bunch.images[row, :, :, None] / 16).astype(np.float32)
        return {
            "left": image[:, :4],
            "right": image[:, 4:],
            "label": np.int32(bunch.target[row]),
            "id": np.int32(row),
        }

    bounds = {"test": (0, 500), "val": (500, 800), "train": (800, len(order))}
    splits = {
        name: [example(row) for row in order[start:stop]] for name, (start, stop) in bounds.items()
    }
    return Dataset(("left", "right"), tuple(str(digit) for digit in range(10)), splits)


def log_feature(scale: float = 1.0) -> Method:
    """Matches the signed logarithm of the teacher's features.

    Terms:
        log_feature: ``[N]``, their mean squared difference.
    """

    def terms(params, student, teacher, targets):  # type: ignore[no-untyped-def]
        features = [signed_log(scale * model.features) for model in (student, teacher)]
        return {"log_feature": mean_squared_error(*features)}

    return stateless(terms, names=("log_feature",))


class LinenNet(nn.Module):
    """A Flax linen module: a convolution and two dense layers."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> Outputs:
        """Returns features ``[N, 64]`` and logits ``[N, K]``."""
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        features = nn.Dense(64)(x.reshape(len(x), -1))
        features = features + self.perturb("features", jnp.zeros_like(features))
        return Outputs(logits=nn.Dense(self.num_classes)(nn.relu(features)), features=features)


def linen_net(num_classes: int) -> nn.Module:
    """Makes a `LinenNet`."""
    return LinenNet(num_classes)


def function_net(num_classes: int, width: int = 64) -> nn.Module:
    """Makes a model of two plain functions."""

    def init(key: jax.Array, x: jax.Array) -> dict[str, dict[str, jax.Array]]:
        first, last = jax.random.split(key)
        return {
            "hidden": adapters.init_dense(first, math.prod(x.shape[1:]), width),
            "classifier": adapters.init_dense(last, width, num_classes),
        }

    def apply(params: dict, x: jax.Array, *, perturb: Callable) -> Outputs:
        features = perturb(adapters.dense(params["hidden"], x.reshape(len(x), -1)))
        logits = adapters.dense(params["classifier"], jax.nn.relu(features))
        return Outputs(logits=logits, features=features)

    return from_function(apply, init)


class NNXNet(nnx.Module):
    """A Flax NNX module with batch normalization and dropout."""

    def __init__(self, num_classes: int, axis_name: str | None, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(32, 64, rngs=rngs)
        self.norm = nnx.BatchNorm(64, axis_name=axis_name, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.classifier = nnx.Linear(64, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array, *, perturb: Callable) -> Outputs:
        """Returns features ``[N, 64]`` and logits ``[N, K]``."""
        features = perturb(self.norm(self.hidden(x.reshape(len(x), -1))))
        logits = self.classifier(self.dropout(nnx.relu(features)))
        return Outputs(logits=logits, features=features)


def nnx_net(num_classes: int, axis_name: str | None = None) -> nn.Module:
    """Makes an `NNXNet`."""
    return from_nnx(functools.partial(NNXNet, num_classes, axis_name))
