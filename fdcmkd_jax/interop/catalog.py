"""Identification of the backbone that a state dict belongs to."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from fdcmkd_jax import models
from fdcmkd_jax.interop.names import Naming, compare
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import state

KNOWN: tuple[Mapping[str, Any], ...] = (
    {"name": "resnet_tiny"},
    *({"name": "resnet", "depth": depth} for depth in (18, 34, 50)),
)
"""The config sections of the backbones that have PyTorch names."""


def sizes(state: Mapping[str, np.ndarray], *, naming: Naming) -> tuple[int, int]:
    """Reads the number of input channels and of classes off a state dict.

    Raises:
        ConfigError: If the first convolution or the last layer is missing.
    """
    names = {
        "torchvision": ("conv1.weight", "fc.weight"),
        "reproduction": ("net.conv1.weight", "classifier.weight"),
    }[naming]
    for name, rank in zip(names, (4, 2), strict=True):
        if name not in state or state[name].ndim != rank:
            raise ConfigError(f"{name} is missing or misshapen; a ResNet named by {naming} has it.")
    return state[names[0]].shape[1], state[names[1]].shape[0]


def example(channels: int) -> Array:
    """Returns an input for any backbone: shapes of parameters do not depend on H and W."""
    return jnp.zeros((1, 32, 32, channels))


def abstract_variables(model: nn.Module, channels: int) -> dict[str, Any]:
    """Returns the shapes of a model's parameters and statistics."""
    return state.abstract_variables(model, example(channels))


def initial_variables(model: nn.Module, channels: int, *, seed: int) -> dict[str, Any]:
    """Draws a model's parameters and statistics."""
    # Compiled: layer by layer it takes several times as long.
    init = jax.jit(functools.partial(model.init, train=False))
    variables = init(jax.random.key(seed), example(channels))
    return {name: variables[name] for name in ("params", "batch_stats")}


def identify(state: Mapping[str, np.ndarray], *, naming: Naming) -> Mapping[str, Any] | None:
    """Returns the config section of the backbone whose keys and shapes match; None if none does."""
    channels, num_classes = sizes(state, naming=naming)
    for options in KNOWN:
        like = abstract_variables(models.make(**options, num_classes=num_classes), channels)
        if not compare(state, like, naming=naming):
            return options
    return None
