"""Layers that Flax lacks: BatchNorm with masks and PyTorch's statistics, max-pooling by slices."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from fdcmkd_jax.collectives import psum
from fdcmkd_jax.initializers import xavier_normal

Conv = functools.partial(
    nn.Conv,
    use_bias=False,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
)
"""A convolution without bias, Kaiming-normal over the fan-out, as in the paper's public code."""

Dense = functools.partial(nn.Dense, kernel_init=xavier_normal)
"""A dense layer, Xavier-normal kernel and zero bias, as in the paper's public code."""


def conv(
    features: int,
    size: int,
    strides: int = 1,
    *,
    dilation: int = 1,
    name: str,
    dtype: DTypeLike,
    patches: bool = False,
) -> nn.Module:
    """Makes a square convolution with PyTorch's symmetric padding; stride 1 keeps H and W.

    Args:
        features: Channels out.
        size: Height and width of the kernel, odd.
        strides: Strides along H and W.
        dilation: Distance of the kernel's entries in the input.
        name: Name of the layer in the parameter tree.
        dtype: Dtype of the result.
        patches: Run as one matrix product over patches, unless dilated; see `patch_convolution`.
    """
    pad = size // 2 * dilation
    return Conv(
        features,
        (size, size),
        strides=(strides, strides),
        padding=((pad, pad), (pad, pad)),
        kernel_dilation=(dilation, dilation),
        name=name,
        dtype=dtype,
        conv_general_dilated=patch_convolution if patches and dilation == 1 else None,
    )


def patch_convolution(
    x: Float[Array, "N H W C"],
    kernel: Float[Array, "h w C F"],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **unused: object,
) -> Float[Array, "N P Q F"]:
    """Convolves by one matrix product over patches, for small maps on a CPU.

    A map of no more positions than the kernel has is a single patch, whose product is a dense
    layer's: around the map, patches would hold mostly padding.

    The results equal those of ``lax.conv_general_dilated`` up to rounding. XLA's CPU gradients of
    small strided convolutions are slow: a training step of ``resnet_tiny`` takes less than half the
    time this way (``benchmarks/convolution.py``). It holds ``h * w`` copies of the input in memory.

    Args:
        x: Shape ``[N, H, W, C]``.
        kernel: Shape ``[h, w, C, F]``.
        window_strides: Strides along H and W.
        padding: Numbers of zeros before and after, along H and W.
        **unused: Further keywords of Flax; layouts and dilations stay at their defaults.

    Returns:
        Shape ``[N, P, Q, F]``.
    """
    del unused
    if math.prod(x.shape[1:3]) <= math.prod(kernel.shape[:2]):
        return _dense_convolution(x, kernel, window_strides, padding)
    height, width, channels, features = kernel.shape
    down, right = window_strides
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (x.shape[1] - height) // down + 1, (x.shape[2] - width) // right + 1
    patches = jnp.concatenate(
        [
            x[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right]
            for i in range(height)
            for j in range(width)
        ],
        axis=-1,
    )
    flat = patches.reshape(-1, height * width * channels) @ kernel.reshape(-1, features)
    return flat.reshape(x.shape[0], rows, columns, features)


def _dense_convolution(
    x: Float[Array, "N H W C"],
    kernel: Float[Array, "h w C F"],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Float[Array, "N P Q F"]:
    """Convolves by one product of each whole map and a matrix that holds the kernel's entries."""
    sides, taps, features = x.shape[1:3], kernel.shape[:2], kernel.shape[-1]
    outputs = [
        (side + before + after - size) // stride + 1
        for side, size, stride, (before, after) in zip(
            sides, taps, window_strides, padding, strict=True
        )
    ]

    def place(*position: int) -> Array:
        """Lays the kernel over the map where it yields one output, ``[H, W, C, F]``."""
        starts = [
            at * stride - before
            for at, stride, (before, _) in zip(position, window_strides, padding, strict=True)
        ]
        around = [
            (start, side - start - size, 0)  # A negative number cuts off what lies outside.
            for start, side, size in zip(starts, sides, taps, strict=True)
        ]
        return jax.lax.pad(kernel, jnp.zeros((), kernel.dtype), [*around, (0, 0, 0), (0, 0, 0)])

    placed = [place(*position) for position in itertools.product(*map(range, outputs))]
    matrix = jnp.stack(placed, axis=-2).reshape(-1, len(placed) * features)
    return (x.reshape(x.shape[0], -1) @ matrix).reshape(-1, *outputs, features)


class BatchNorm(nn.Module):
    """Batch normalization whose statistics are global sums over global counts.

    Differs from Flax's layer in two ways: rows outside ``mask`` count nowhere even where devices
    hold unequal shares of them, and the running variance is the unbiased one, as in PyTorch.

    Attributes:
        axis_name: The mapped axis to synchronize over; None keeps each device's own statistics.
        momentum: Share of the old running statistics that is kept (PyTorch's momentum is 1 - this).
        epsilon: Added to the variance.
        scale_init: Initializer of the scale.
        dtype: Dtype of the result; statistics and parameters stay float32 or wider.

    Source: arXiv 1502.03167.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Callable[..., Array] = nn.initializers.ones
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "N *rest C"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> Float[Array, "N *rest C"]:
        """Normalises each channel.

        Args:
            x: Shape ``[N, ..., C]``.
            train: Use the batch's statistics and update the running ones.
            mask: Shape ``[N]``; rows outside it do not enter the statistics.

        Returns:
            The shape of ``x``, of ``self.dtype``.
        """
        channels = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        scale = self.param("scale", self.scale_init, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        wide = x.astype(jnp.promote_types(x.dtype, scale.dtype))
        if train:
            mean, var, count = self._statistics(wide, mask)
            if not self.is_initializing():
                keep = self.momentum
                unbiased = var * count / jnp.maximum(count - 1, 1)
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = jax.lax.rsqrt(var + self.epsilon) * scale
        mean, factor, bias = (
            jnp.expand_dims(y, range(wide.ndim - 1)) for y in (mean, factor, bias)
        )
        return ((wide - mean) * factor + bias).astype(self.dtype)

    def _statistics(self, x: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        """Returns mean, biased variance and count, over the mask and all devices."""
        axes = tuple(range(x.ndim - 1))
        if mask is None:
            count = jnp.asarray(x.size // x.shape[-1], x.dtype)
        else:
            rows = mask.reshape(-1, *[1] * (x.ndim - 1))
            x = jnp.where(rows, x, 0)
            count = jnp.sum(mask).astype(x.dtype) * (x.size // (x.shape[-1] * x.shape[0]))
        sums = (jnp.sum(x, axes), jnp.sum(jnp.square(x), axes), count)
        if not self.is_initializing():
            sums = psum(sums, self.axis_name)
        count = jnp.maximum(sums[2], 1)
        mean = sums[0] / count
        return mean, jnp.maximum(sums[1] / count - jnp.square(mean), 0), count


def max_pool(x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
    """Pools maxima of 3x3 windows at stride 2 with padding 1, as torchvision's ResNet does.

    It takes the maximum of three strided slices along W and then H: the same values as XLA's
    windowed reduction, whose backward pass is several times slower on a CPU. A tied maximum shares
    its gradient.

    Args:
        x: Shape ``[N, H, W, C]``.

    Returns:
        Shape ``[N, (H + 1) // 2, (W + 1) // 2, C]``.
    """
    for axis in (2, 1):
        size = (x.shape[axis] + 1) // 2
        around = [(0, 0)] * x.ndim
        around[axis] = (1, 1)
        padded = jnp.pad(x, around, constant_values=-jnp.inf)
        slices = (
            jax.lax.slice_in_dim(padded, start, start + 2 * size - 1, 2, axis) for start in range(3)
        )
        x = functools.reduce(jnp.maximum, slices)
    return x


def join_frames(
    x: Float[Array, "N *frames H W C"], mask: Bool[Array, " N"] | None
) -> tuple[Float[Array, "M H W C"], Bool[Array, " M"] | None, int]:
    """Joins examples and their frames, so that a network of pictures runs over all of them.

    Args:
        x: Shape ``[N, H, W, C]``, or ``[N, F, H, W, C]`` with F frames an example.
        mask: Shape ``[N]``, or None.

    Returns:
        Pictures ``[N * F, H, W, C]``, their mask, and F (1 without a frame axis).
    """
    if x.ndim == 4:
        return x, mask, 1
    count = x.shape[1]
    return x.reshape(-1, *x.shape[2:]), None if mask is None else jnp.repeat(mask, count), count


def stack_frames(x: Float[Array, "M h w C"], count: int) -> Float[Array, "N H w C"]:
    """Stacks the maps of each example's ``count`` frames along the height, ``[N, F * h, w, C]``.

    Pooling over height and width then averages over the frames, too.
    """
    return x.reshape(-1, count * x.shape[1], *x.shape[2:])
