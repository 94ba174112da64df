"""Backbones by name. A new backbone is one file and one line here.

A model of your own needs no line here: a config names its constructor by an import path;
`models.wrap` makes one of a plain function pair or of a Flax NNX module.

A model is called as ``module(x, *, train, mask=None)`` and returns `Outputs`. In training it may
draw from the random numbers named ``dropout``. It calls
``self.perturb("features", zeros)`` once, at a place where a shift moves ``features`` by that shift,
so that the gradient of every loss term on the features can be logged.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from fdcmkd_jax.models.bert import bert
from fdcmkd_jax.models.deeplab_v3_plus import deeplab_v3_plus
from fdcmkd_jax.models.mlp import mlp
from fdcmkd_jax.models.mobilenet_v2 import mobilenet_v2
from fdcmkd_jax.models.preprocessed import Preprocessed
from fdcmkd_jax.models.resnet import resnet, resnet_tiny
from fdcmkd_jax.registry import build_once

TABLE: Mapping[str, Callable[..., nn.Module]] = {
    "bert": bert,
    "deeplab_v3_plus": deeplab_v3_plus,
    "mlp": mlp,
    "mobilenet_v2": mobilenet_v2,
    "resnet": resnet,
    "resnet_tiny": resnet_tiny,
}


def names() -> tuple[str, ...]:
    """Returns the names of the backbones, sorted."""
    return tuple(sorted(TABLE))


def make(name: str, *, num_classes: int, axis_name: str | None = None, **options: Any) -> nn.Module:
    """Makes a backbone.

    Args:
        name: A name in `names`, or the import path of a constructor.
        num_classes: K.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        **options: Further keywords of the backbone.

    Returns:
        A module called as ``module(x, *, train, mask=None) -> Outputs``.

    Raises:
        ConfigError: If the name or an option is unknown, or a value is refused.
    """
    return build_once("model", TABLE, name, options, num_classes=num_classes, axis_name=axis_name)


__all__ = [
    "TABLE",
    "Preprocessed",
    "bert",
    "deeplab_v3_plus",
    "make",
    "mlp",
    "mobilenet_v2",
    "names",
    "resnet",
    "resnet_tiny",
]
