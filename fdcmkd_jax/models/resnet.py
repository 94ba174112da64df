"""Residual networks in torchvision's layout, for images and for spectrograms alike."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

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
        bottleneck: Convolutions 1x1, 3x3 and 1x1, the last with four times the channels, instead of
            two 3x3.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations.
        patches: Run convolutions as matrix products over patches; see `patch_convolution`.
    """

    width: int
    strides: int
    bottleneck: bool
    axis_name: str | None
    dtype: DTypeLike
    patches: bool

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None) -> Array:
        """Maps ``[N, H, W, C]`` to ``[N, ceil(H / strides), ceil(W / strides), C']``."""

        def conv_norm(y: Array, features: int, size: int, strides: int, names: str) -> Array:
            convolution = conv(
                features,
                size,
                strides,
                name=names.format("conv"),
                dtype=self.dtype,
                patches=self.patches,
            )
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=names.format("bn"))
            return norm(convolution(y), train=train, mask=mask)

        if self.bottleneck:
            layers = [(self.width, 1, 1), (self.width, 3, self.strides), (4 * self.width, 1, 1)]
        else:
            layers = [(self.width, 3, self.strides), (self.width, 3, 1)]
        y = x
        for index, (features, size, strides) in enumerate(layers, 1):
            y = nn.relu(y) if index > 1 else y
            y = conv_norm(y, features, size, strides, f"{{}}{index}")
        if y.shape != x.shape:
            # A strided 1x1 convolution reads these positions alone. Slicing first gives the same
            # numbers, and its backward pass is much faster on a CPU.
            x = x[:, :: self.strides, :: self.strides]
            x = conv_norm(x, y.shape[-1], 1, 1, "downsample_{}")
        return x + y


class ResNet(nn.Module):
    """A residual network that also returns its features and maps.

    Attributes:
        num_classes: K.
        widths: Channels of each stage's 3x3 convolutions.
        strides: Strides of each stage's first block.
        depths: Number of blocks in each stage.
        bottleneck: Kind of block; see `Block`.
        large_stem: 7x7 stride-2 convolution and max-pooling (torchvision's), or 3x3 stride 2.
        stem_width: Channels out of the stem.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations; parameters, statistics, features and logits stay float32.
        patches: Run convolutions as matrix products over patches; see `patch_convolution`.

    Source: arXiv 1512.03385; layout, strides and padding as in pytorch/vision.
    """

    num_classes: int
    widths: Sequence[int]
    strides: Sequence[int]
    depths: Sequence[int]
    bottleneck: bool = False
    large_stem: bool = False
    stem_width: int = 64
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32
    patches: bool = False

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
        size = 7 if self.large_stem else 3
        stem = conv(self.stem_width, size, 2, name="conv1", dtype=self.dtype, patches=self.patches)
        x = stem(x)
        x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="bn1")(
            x, train=train, mask=mask
        )
        x = nn.relu(x)
        if self.large_stem:
            x = max_pool(x)
        maps = {}
        last = x
        for stage, (width, strides, depth) in enumerate(
            zip(self.widths, self.strides, self.depths, strict=True), 1
        ):
            for index in range(depth):
                last = Block(
                    width=width,
                    strides=strides if index == 0 else 1,
                    bottleneck=self.bottleneck,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    patches=self.patches,
                    name=f"layer{stage}_{index}",
                )(x, train=train, mask=mask)
                x = nn.relu(last)
            maps[f"stage{stage}"] = stack_frames(x, frames)
        last = at_least_float32(stack_frames(last, frames))
        # A shift of the last map by channel moves `features` and the classifier's input together:
        # the gradient on it is every loss term's gradient on the features, the task's included.
        last = last + self.perturb("features", jnp.zeros((last.shape[0], 1, 1, last.shape[-1])))
        pooled = jnp.mean(nn.relu(last), axis=(1, 2))
        logits = Dense(self.num_classes, name="fc", dtype=last.dtype)(pooled)
        return Outputs(logits=logits, features=jnp.mean(last, axis=(1, 2)), maps=maps)


def resnet(
    num_classes: int,
    depth: Literal[18, 34, 50] = 18,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> ResNet:
    """Makes a ResNet-18, -34 or -50 for any number of channels; D = 512, or 2048 at depth 50.

    Args:
        num_classes: K.
        depth: 18, 34 or 50.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float64"`` (where JAX has it switched on), of the
            activations.
        axis_name: The mapped axis BatchNorm synchronizes over.

    Raises:
        ValueError: If the depth or the dtype is another.
    """
    depths = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
    if depth not in depths:
        raise ValueError(f"depth must be one of {sorted(depths)}, got {depth}.")
    return ResNet(
        num_classes=num_classes,
        widths=(64, 128, 256, 512),
        strides=(1, 2, 2, 2),
        depths=depths[depth],
        bottleneck=depth == 50,
        large_stem=True,
        axis_name=axis_name,
        dtype=_dtype(dtype),
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
        widths=(16, 32, 64, 128, 128),
        strides=(1, 2, 2, 2, 1),
        depths=(1, 1, 1, 1, 1),
        stem_width=16,
        axis_name=axis_name,
        dtype=_dtype(dtype),
        patches=jax.default_backend() == "cpu",
    )


def _dtype(name: str) -> jnp.dtype:
    """Returns the dtype of a name; raises ValueError if it is unknown or not switched on."""
    known = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}
    if name not in known:
        raise ValueError(f"dtype must be one of {sorted(known)}, got {name!r}.")
    if name == "float64" and jnp.zeros(()).dtype != jnp.float64:
        raise ValueError("dtype float64 needs JAX_ENABLE_X64=1 in the environment.")
    return jnp.dtype(known[name])
