"""A small network that predicts every pixel and compiles quickly."""

import jax.numpy as jnp
from flax import linen as nn

from fdcmkd_jax.adapters import resize_maps
from fdcmkd_jax.types import Outputs


class DenseNet(nn.Module):
    """Two convolutions; features at a quarter of the input."""

    num_classes: int

    @nn.compact
    def __call__(self, x, *, train, mask=None):
        del train, mask
        features = nn.Conv(8, (4, 4), strides=(4, 4))(x)
        features = features + self.perturb("features", jnp.zeros(features.shape))
        logits = nn.Conv(self.num_classes, (1, 1))(nn.relu(features))
        return Outputs(logits=resize_maps(logits, x), features=features)


def dense_net(num_classes: int, axis_name: str | None = None) -> DenseNet:
    """Makes the network; it has no statistics to synchronize."""
    del axis_name
    return DenseNet(num_classes)
