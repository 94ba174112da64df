"""MobileNetV2 in torchvision's layout."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from fdcmkd_jax.models.dtypes import float_dtype
from fdcmkd_jax.models.layers import BatchNorm, Conv, Dense
from fdcmkd_jax.types import Outputs, at_least_float32


class Stage(NamedTuple):
    """Blocks of one width.

    Attributes:
        expansion: Channels inside a block, as a multiple of those that enter it.
        width: Channels that leave each block, before the width multiplier.
        depth: Number of blocks.
        strides: Strides of the first block.
    """

    expansion: int
    width: int
    depth: int
    strides: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
"""Table 2 of arXiv 1801.04381."""


class Blocks(nn.Module, kw_only=True):
    """The stem and the blocks of a MobileNetV2.

    Attributes:
        width: Multiplier of every number of channels; the last convolution keeps 1280 below 1.
        output_stride: The largest stride of a map; where a stage would exceed it, its depthwise
            convolutions are dilated instead, so that weights trained with strides fit.
        momentum: Of BatchNorm; see `BatchNorm`.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations; parameters, statistics, features and logits stay float32.

    Source: arXiv 1801.04381; rounding of channels, padding and names as in pytorch/vision.
    """

    width: float = 1.0
    output_stride: int = 32
    momentum: float = 0.9
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.nowrap
    def run(
        self, x: Float[Array, "N H W C"], *, train: bool, mask: Bool[Array, " N"] | None
    ) -> dict[str, Array]:
        """Runs the stem and the blocks, whose layers become the caller's.

        Returns:
            The result at each stride, ``stage1`` (stride 2) to ``stage5`` (32), before dilation
            takes the place of strides; they end without an activation.
        """
        normed = functools.partial(self.conv_norm, train=train, mask=mask)

        def block(y: Array, stage: Stage, strides: int, dilation: int, name: str) -> Array:
            inside, width = y.shape[-1] * stage.expansion, channels(stage.width * self.width)
            z = y
            if stage.expansion > 1:
                z = jax.nn.relu6(normed(z, inside, f"{name}_expand"))
            depthwise = functools.partial(normed, size=3, dilation=dilation, groups=inside)
            z = depthwise(z, inside, f"{name}_depthwise", strides=strides)
            z = normed(jax.nn.relu6(z), width, f"{name}_project")
            return y + z if z.shape == y.shape else z

        x = jax.nn.relu6(normed(x, channels(32 * self.width), "stem", size=3, strides=2))
        results: list[Array] = []
        number, reached, dilation = 0, 2, 1
        for stage in STAGES:
            before, strides = dilation, stage.strides
            if strides > 1:
                results.append(x)
            if reached * strides > self.output_stride:
                strides, dilation = 1, dilation * strides
            reached *= strides
            for index in range(stage.depth):
                number += 1
                moved = (strides, before) if index == 0 else (1, dilation)
                x = block(x, stage, *moved, f"block{number}")
        return {f"stage{level}": each for level, each in enumerate([*results, x], 1)}

    @nn.nowrap
    def conv_norm(
        self,
        x: Array,
        features: int,
        name: str,
        *,
        size: int = 1,
        strides: int = 1,
        dilation: int = 1,
        groups: int = 1,
        train: bool,
        mask: Array | None,
    ) -> Array:
        """Applies a convolution, padded as in PyTorch, and a BatchNorm."""
        pad = size // 2 * dilation
        convolution = Conv(
            features,
            (size, size),
            strides=(strides, strides),
            padding=((pad, pad), (pad, pad)),
            kernel_dilation=(dilation, dilation),
            feature_group_count=groups,
            name=f"{name}_conv",
            dtype=self.dtype,
        )
        norm = BatchNorm(
            axis_name=self.axis_name, momentum=self.momentum, dtype=self.dtype, name=f"{name}_bn"
        )
        return norm(convolution(x), train=train, mask=mask)


class MobileNetV2Maps(Blocks):
    """MobileNetV2 without its last convolution and classifier, the backbone of another model."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "N H W C"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> dict[str, Array]:
        """Returns the result at each stride by name, ``stage1`` (stride 2) to ``stage5``."""
        return self.run(x, train=train, mask=mask)


class MobileNetV2(Blocks):
    """MobileNetV2 that also returns its features and maps.

    Attributes:
        num_classes: K.
        dropout: Share of the pooled features dropped before the classifier, in training.
    """

    num_classes: int
    dropout: float = 0.2

    @nn.compact
    def __call__(
        self, x: Float[Array, "N H W C"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> Outputs:
        """Runs the network.

        Args:
            x: Shape ``[N, H, W, C]``, floating.
            train: Use and update batch statistics, and drop features, which takes a key named
                ``dropout``.
            mask: Shape ``[N]``; rows outside it do not enter the statistics.

        Returns:
            `Outputs`: ``features [N, D]`` is the last convolution, normalized, before its ReLU6,
            pooled over H and W (D = 1280); the classifier reads the pooled map after the ReLU6;
            ``maps`` holds the last block's result at each resolution, ``stage1`` (a half) to
            ``stage5`` (a thirty-second), which end without an activation.
        """
        maps = self.run(x, train=train, mask=mask)
        size = channels(1280 * max(1.0, self.width))
        last = self.conv_norm(maps["stage5"], size, "last", train=train, mask=mask)
        last = at_least_float32(last)
        # As in the ResNets: a shift by channel moves `features` and the classifier's input.
        last = last + self.perturb("features", jnp.zeros((last.shape[0], 1, 1, last.shape[-1])))
        pooled = jnp.mean(jax.nn.relu6(last), axis=(1, 2))
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        logits = Dense(self.num_classes, name="classifier", dtype=last.dtype)(pooled)
        return Outputs(logits=logits, features=jnp.mean(last, axis=(1, 2)), maps=maps)


def channels(wanted: float) -> int:
    """Rounds a number of channels to a multiple of 8, losing no more than a tenth of it.

    Source: pytorch/vision.

    Examples:
        >>> channels(32 * 0.75), channels(16 * 0.35), channels(24 * 1.4)
        (24, 8, 32)
    """
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def mobilenet_v2(
    num_classes: int,
    width: float = 1.0,
    dropout: float = 0.2,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> MobileNetV2:
    """Makes a MobileNetV2 for any number of channels; D = 1280, or more above width 1.

    It has 2.2 M parameters beside the classifier.

    Args:
        num_classes: K.
        width: Multiplier of every number of channels, positive.
        dropout: Share of the pooled features dropped before the classifier, in training; in [0, 1).
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float64"`` (where JAX has it switched on), of the
            activations.
        axis_name: The mapped axis BatchNorm synchronizes over.

    Raises:
        ValueError: If a number is out of range or the dtype is another.
    """
    if width <= 0 or not 0 <= dropout < 1:
        raise ValueError(
            f"width must be positive and dropout in [0, 1), got {width} and {dropout}."
        )
    return MobileNetV2(
        num_classes=num_classes,
        width=width,
        dropout=dropout,
        axis_name=axis_name,
        dtype=float_dtype(dtype),
    )
