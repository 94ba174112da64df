"""Dense layers, for inputs that are one vector an example."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from fdcmkd_jax.models.dtypes import float_dtype
from fdcmkd_jax.models.layers import BatchNorm, Dense
from fdcmkd_jax.types import Outputs, at_least_float32


class MLP(nn.Module):
    """Dense layers with BatchNorm, ReLU and dropout after each.

    Attributes:
        num_classes: K.
        widths: Width of each layer; the last is D.
        dropout: Share dropped after each ReLU, in training.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations; parameters, statistics, features and logits stay float32.
    """

    num_classes: int
    widths: Sequence[int]
    dropout: float
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "N *rest"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> Outputs:
        """Runs the network.

        Args:
            x: Shape ``[N, ...]``, floating; further axes are flattened.
            train: Use and update batch statistics, and drop activations, which takes a key named
                ``dropout``.
            mask: Shape ``[N]``; rows outside it do not enter the statistics.

        Returns:
            `Outputs`: ``features [N, D]`` is the last layer, normalized, before its ReLU.
        """

        def drop(y: Array) -> Array:
            return nn.Dropout(self.dropout, deterministic=not train)(nn.relu(y))

        x = x.reshape(x.shape[0], -1)
        for index, width in enumerate(self.widths):
            x = drop(x) if index else x
            x = Dense(width, name=f"dense{index}", dtype=self.dtype)(x)
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"norm{index}")
            x = norm(x, train=train, mask=mask)
        features = at_least_float32(x)
        features = features + self.perturb("features", jnp.zeros_like(features))
        logits = Dense(self.num_classes, name="classifier", dtype=features.dtype)(drop(features))
        return Outputs(logits=logits, features=features)


def mlp(
    num_classes: int,
    widths: Sequence[int] = (256, 128),
    dropout: float = 0.5,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> MLP:
    """Makes a network of dense layers for vectors, such as hashed words.

    Args:
        num_classes: K.
        widths: Width of each layer, one at least; the last is D.
        dropout: Share dropped after each ReLU, in training; in [0, 1).
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float64"`` (where JAX has it switched on), of the
            activations.
        axis_name: The mapped axis BatchNorm synchronizes over.

    Raises:
        ValueError: If a number is out of range or the dtype is another.
    """
    if not widths or min(widths) < 1 or not 0 <= dropout < 1:
        raise ValueError(
            f"widths must be positive and dropout in [0, 1), got {list(widths)} and {dropout}."
        )
    return MLP(num_classes, tuple(widths), dropout, axis_name, float_dtype(dtype))
