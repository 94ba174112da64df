"""Residual networks in torchvision's layout, for images and for spectrograms alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from fdcmkd_jax.models.dtypes import float_dtype
from fdcmkd_jax.models.layers import (
    BatchNorm,
    Dense,
    conv,
    join_frames,
    max_pool,
    stack_frames,
)
from fdcmkd_jax.types import Outputs, at_least_float32


class Block(nn.Module):
    """A residual block without its final ReLU, which the caller applies.

    Attributes:
        width: Channels of the 3x3 convolutions.
        strides: Strides of the block; in a bottleneck, of its 3x3 convolution.
        dilations: Dilation of the convolution that has the strides, and of a 3x3 one after it.
        bottleneck: Convolutions 1x1, 3x3 and 1x1, the last with four times the channels, instead of
            two 3x3.
        momentum: Of BatchNorm; see `BatchNorm`.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations.
        patches: Run convolutions as matrix products over patches; see `patch_convolution`.
    """

    width: int
    strides: int
    dilations: tuple[int, int]
    bottleneck: bool
    momentum: float
    axis_name: str | None
    dtype: DTypeLike
    patches: bool

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None) -> Array:
        """Maps ``[N, H, W, C]`` to ``[N, ceil(H / strides), ceil(W / strides), C']``."""

        def conv_norm(
            y: Array, features: int, size: int, strides: int, dilation: int, names: str
        ) -> Array:
            convolution = conv(
                features,
                size,
                strides,
                dilation=dilation,
                name=names.format("conv"),
                dtype=self.dtype,
                patches=self.patches,
            )
            norm = BatchNorm(
                axis_name=self.axis_name,
                momentum=self.momentum,
                dtype=self.dtype,
                name=names.format("bn"),
            )
            return norm(convolution(y), train=train, mask=mask)

        strided = (self.width, 3, self.strides, self.dilations[0])
        if self.bottleneck:
            layers = [(self.width, 1, 1, 1), strided, (4 * self.width, 1, 1, 1)]
        else:
            layers = [strided, (self.width, 3, 1, self.dilations[1])]
        y = x
        for index, (features, size, strides, dilation) in enumerate(layers, 1):
            y = nn.relu(y) if index > 1 else y
            y = conv_norm(y, features, size, strides, dilation, f"{{}}{index}")
        if y.shape != x.shape:
            # A strided 1x1 convolution reads these positions alone. Slicing first gives the same
            # numbers, and its backward pass is much faster on a CPU.
            x = x[:, :: self.strides, :: self.strides]
            x = conv_norm(x, y.shape[-1], 1, 1, 1, "downsample_{}")
        return x + y


class Stages(nn.Module, kw_only=True):
    """The stem and the stages of a residual network.

    Attributes:
        widths: Channels of each stage's 3x3 convolutions.
        strides: Strides of each stage's first block.
        depths: Number of blocks in each stage.
        bottleneck: Kind of block; see `Block`.
        large_stem: 7x7 stride-2 convolution and max-pooling (torchvision's), or 3x3 stride 2.
        stem_width: Channels out of the stem.
        output_stride: The largest stride of a map; where a stage would exceed it, its convolutions
            are dilated instead, so that weights trained with strides fit. None for no limit.
        momentum: Of BatchNorm; see `BatchNorm`.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations; parameters, statistics, features and logits stay float32.
        patches: Run convolutions as matrix products over patches; see `patch_convolution`.

    Source: arXiv 1512.03385; layout, strides, padding and dilation as in pytorch/vision, whose
    basic blocks refuse dilation; theirs are as in winycg/CIRKD.
    """

    widths: Sequence[int]
    strides: Sequence[int]
    depths: Sequence[int]
    bottleneck: bool = False
    large_stem: bool = False
    stem_width: int = 64
    output_stride: int | None = None
    momentum: float = 0.9
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32
    patches: bool = False

    @nn.nowrap
    def run(
        self, x: Float[Array, "N H W C"], *, train: bool, mask: Bool[Array, " N"] | None
    ) -> tuple[Array, dict[str, Array]]:
        """Runs the stem and the stages, whose layers become the caller's.

        Returns:
            The last block before its ReLU, and each stage's result after its ReLU by name,
            ``stage1`` on.
        """
        size = 7 if self.large_stem else 3
        stem = conv(self.stem_width, size, 2, name="conv1", dtype=self.dtype, patches=self.patches)
        norm = BatchNorm(
            axis_name=self.axis_name, momentum=self.momentum, dtype=self.dtype, name="bn1"
        )
        x = nn.relu(norm(stem(x), train=train, mask=mask))
        x = max_pool(x) if self.large_stem else x
        maps, last = {}, x
        reached, dilation = 4 if self.large_stem else 2, 1
        for stage, (width, strides, depth) in enumerate(
            zip(self.widths, self.strides, self.depths, strict=True), 1
        ):
            before = dilation
            if self.output_stride is not None and reached * strides > self.output_stride:
                strides, dilation = 1, dilation * strides
            reached *= strides
            for index in range(depth):
                last = Block(
                    width=width,
                    strides=strides if index == 0 else 1,
                    dilations=(before if index == 0 else dilation, dilation),
                    bottleneck=self.bottleneck,
                    momentum=self.momentum,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    patches=self.patches,
                    name=f"layer{stage}_{index}",
                )(x, train=train, mask=mask)
                x = nn.relu(last)
            maps[f"stage{stage}"] = x
        return last, maps


class ResNetMaps(Stages):
    """A residual network without a classifier, the backbone of another model."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "N H W C"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> dict[str, Array]:
        """Returns each stage's result after its ReLU by name, ``stage1`` on."""
        return self.run(x, train=train, mask=mask)[1]


class ResNet(Stages):
    """A residual network that also returns its features and maps.

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "N *frames H W C"],
        *,
        train: bool,
        mask: Bool[Array, " N"] | None = None,
    ) -> Outputs:
        """Runs the network.

        Several frames of an example run as pictures of their own, and are pooled together, as in
        huofushuo/C2KD.

        Args:
            x: Shape ``[N, H, W, C]``, or ``[N, F, H, W, C]`` for F frames an example, floating.
            train: Use and update batch statistics.
            mask: Shape ``[N]``; rows outside it do not enter the statistics.

        Returns:
            `Outputs`: ``features [N, D]`` is the last block before its final ReLU, pooled over H
            and W; the classifier reads the pooled map after that ReLU; ``maps`` holds each stage's
            result after its ReLU, ``stage1`` on, of F frames one below the other.
        """
        x, mask, frames = join_frames(x, mask)
        last, maps = self.run(x, train=train, mask=mask)
        maps = {name: stack_frames(each, frames) for name, each in maps.items()}
        last = at_least_float32(stack_frames(last, frames))
        # A shift of the last map by channel moves `features` and the classifier's input together:
        # the gradient on it is every loss term's gradient on the features, the task's included.
        last = last + self.perturb("features", jnp.zeros((last.shape[0], 1, 1, last.shape[-1])))
        pooled = jnp.mean(nn.relu(last), axis=(1, 2))
        logits = Dense(self.num_classes, name="fc", dtype=last.dtype)(pooled)
        return Outputs(logits=logits, features=jnp.mean(last, axis=(1, 2)), maps=maps)


LAYOUTS: Mapping[int, Mapping[str, Any]] = {
    depth: {
        "widths": (64, 128, 256, 512),
        "strides": (1, 2, 2, 2),
        "depths": depths,
        "bottleneck": depth >= 50,
        "large_stem": True,
    }
    for depth, depths in (
        (18, (2, 2, 2, 2)),
        (34, (3, 4, 6, 3)),
        (50, (3, 4, 6, 3)),
        (101, (3, 4, 23, 3)),
    )
}
"""Attributes of `Stages` by depth, as in torchvision."""


TINY: Mapping[str, Any] = {
    "widths": (16, 32, 64, 128, 128),
    "strides": (1, 2, 2, 2, 1),
    "depths": (1, 1, 1, 1, 1),
    "stem_width": 16,
}
"""Attributes of `Stages` in `resnet_tiny`."""


def resnet(
    num_classes: int,
    depth: Literal[18, 34, 50, 101] = 18,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> ResNet:
    """Makes a ResNet for any number of channels; D = 512, or 2048 from depth 50.

    Args:
        num_classes: K.
        depth: 18, 34, 50 or 101.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float64"`` (where JAX has it switched on), of the
            activations.
        axis_name: The mapped axis BatchNorm synchronizes over.

    Raises:
        ValueError: If the depth or the dtype is another.
    """
    if depth not in LAYOUTS:
        raise ValueError(f"depth must be one of {sorted(LAYOUTS)}, got {depth}.")
    return ResNet(
        num_classes=num_classes,
        **LAYOUTS[depth],
        axis_name=axis_name,
        dtype=float_dtype(dtype),
    )


def resnet_tiny(num_classes: int, dtype: str = "float32", axis_name: str | None = None) -> ResNet:
    """Makes a ResNet of five basic blocks for 28x28 images and 32x13 MFCCs; D = 128.

    It has 0.6 M parameters.

    Args:
        num_classes: K.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float64"`` (where JAX has it switched on), of the
            activations.
        axis_name: The mapped axis BatchNorm synchronizes over.

    Raises:
        ValueError: If the dtype is another.
    """
    return ResNet(
        num_classes=num_classes,
        **TINY,
        # Faster on a CPU at these sizes; on maps of 72x96, XLA's convolutions are twice as fast.
        patches=jax.default_backend() == "cpu",
        axis_name=axis_name,
        dtype=float_dtype(dtype),
    )
