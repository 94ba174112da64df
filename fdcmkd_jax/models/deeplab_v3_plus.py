"""DeepLabV3+: a dilated backbone, atrous pyramid pooling and a decoder, for maps of classes."""

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from fdcmkd_jax.adapters import resize_maps
from fdcmkd_jax.models.dtypes import float_dtype
from fdcmkd_jax.models.layers import BatchNorm, Conv, conv
from fdcmkd_jax.models.mobilenet_v2 import MobileNetV2Maps
from fdcmkd_jax.models.resnet import LAYOUTS, TINY, ResNetMaps
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.types import Outputs, at_least_float32

Backbone = Literal["resnet_tiny", "resnet18", "resnet50", "resnet101", "mobilenet_v2"]
Level = Literal["decoder", "aspp"]

LOW_LEVEL_WIDTH = 48
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Dilations of the pyramid's 3x3 convolutions by output stride."""


class Head(nn.Module):
    """Atrous spatial pyramid pooling, and the decoder that joins it with a low-level map.

    Attributes:
        num_classes: K.
        rates: Dilations of the pyramid's 3x3 convolutions.
        features: The layer whose result is returned: ``"decoder"`` or ``"aspp"``.
        width: Channels of the pyramid and of the decoder.
        dropout: Share of the pyramid's result dropped in training.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations.

    Source: arXiv 1802.02611; layers as in VainF/DeepLabV3Plus-Pytorch.
    """

    num_classes: int
    rates: tuple[int, ...]
    features: Level
    width: int
    dropout: float
    axis_name: str | None
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, low: Array, high: Array, shift: Array, *, train: bool, mask: Array | None
    ) -> tuple[Float[Array, "N h w K"], Float[Array, "N H W C"]]:
        """Classifies the positions of the low-level map.

        Args:
            low: Shape ``[N, h, w, c]``, the low-level map.
            high: Shape ``[N, h', w', c']``, the backbone's last map.
            shift: Added to the returned features; of their shape.
            train: Use and update batch statistics, and drop.
            mask: Shape ``[N]``; rows outside it do not enter the statistics.

        Returns:
            Logits ``[N, h, w, K]``, and the features before their ReLU, at least float32.
        """

        def conv_norm(
            y: Array, features: int, name: str, size: int = 1, dilation: int = 1
        ) -> Array:
            layer = conv(features, size, dilation=dilation, name=f"{name}_conv", dtype=self.dtype)
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_bn")
            return norm(layer(y), train=train, mask=mask)

        branches = [nn.relu(conv_norm(high, self.width, "aspp0"))]
        for index, rate in enumerate(self.rates, 1):
            branches.append(nn.relu(conv_norm(high, self.width, f"aspp{index}", 3, rate)))
        pooled = jnp.mean(high, axis=(1, 2), keepdims=True)
        pooled = nn.relu(conv_norm(pooled, self.width, "pool"))
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        features = conv_norm(jnp.concatenate(branches, axis=-1), self.width, "aspp_project")
        if self.features == "aspp":
            features = at_least_float32(features) + shift
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(features))
        x = resize_maps(x, low).astype(self.dtype)
        low = nn.relu(conv_norm(low, LOW_LEVEL_WIDTH, "project"))
        x = conv_norm(jnp.concatenate([low, x], axis=-1), self.width, "decoder", 3)
        x = at_least_float32(x)
        if self.features == "decoder":
            features = x = x + shift
        classifier = Conv(self.num_classes, (1, 1), use_bias=True, name="last", dtype=x.dtype)
        return classifier(nn.relu(x)), features


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ that also returns its features and the backbone's maps.

    Attributes:
        num_classes: K.
        backbone: Returns maps by name.
        low: Name of its low-level map, which has a quarter of the input's height and width.
        high: Name of its last map.
        rates: See `Head`.
        features: See `Head`.
        width: See `Head`.
        dropout: See `Head`.
        axis_name: The mapped axis BatchNorm synchronizes over; None for none.
        dtype: Dtype of the activations; parameters, statistics, features and logits stay float32.
    """

    num_classes: int
    backbone: nn.Module
    low: str
    high: str
    rates: tuple[int, ...]
    features: Level = "decoder"
    width: int = 256
    dropout: float = 0.1
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

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
            `Outputs`: ``logits [N, H, W, K]``, resized bilinearly to the input; ``features
            [N, h, w, C]`` before their ReLU, at a quarter of the input (the decoder) or at the
            output stride (the pyramid); ``maps`` are the backbone's.
        """
        maps: Mapping[str, Array] = self.backbone(x, train=train, mask=mask)
        low, high = maps[self.low], maps[self.high]
        like = low if self.features == "decoder" else high
        shift = self.perturb("features", jnp.zeros((*like.shape[:3], self.width)))
        head = Head(
            num_classes=self.num_classes,
            rates=self.rates,
            features=self.features,
            width=self.width,
            dropout=self.dropout,
            axis_name=self.axis_name,
            dtype=self.dtype,
            # The name by which optimizers tell a head from a backbone.
            name="classifier",
        )
        logits, features = head(low, high, shift, train=train, mask=mask)
        return Outputs(logits=resize_maps(logits, x), features=features, maps=dict(maps))


def deeplab_v3_plus(
    num_classes: int,
    backbone: Backbone = "resnet50",
    output_stride: Literal[8, 16] = 16,
    features: Level = "decoder",
    width: int = 256,
    dropout: float = 0.1,
    backbone_width: float = 1.0,
    backbone_momentum: float = 0.99,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> DeepLabV3Plus:
    """Makes a DeepLabV3+ for any number of channels; it predicts a class for every pixel.

    It has 39.8 M parameters on ResNet-50 and 5.2 M on MobileNetV2.

    Args:
        num_classes: K.
        backbone: ``"resnet18"``, ``"resnet50"``, ``"resnet101"`` or ``"mobilenet_v2"``; or
            ``"resnet_tiny"``, for small pictures on a CPU.
        output_stride: Of the backbone's last map: 16 dilates its last stage (pyramid rates 6, 12
            and 18), 8 its last two stages (12, 24 and 36).
        features: The maps that methods compare, before their ReLU: the ``"decoder"``'s at a quarter
            of the input, or the pyramid's (``"aspp"``) at the output stride.
        width: Channels of the pyramid and of the decoder, which are also the features'.
        dropout: Share of the pyramid's result dropped in training, in [0, 1).
        backbone_width: Multiplier of MobileNetV2's channels; 1 for the ResNets.
        backbone_momentum: Share of the running statistics that the backbone's BatchNorm keeps at
            each step, in [0, 1); the head keeps 0.9.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float64"`` (where JAX has it switched on), of the
            activations.
        axis_name: The mapped axis BatchNorm synchronizes over.

    Raises:
        ValueError: If a choice is unknown or a number out of range.

    Source: arXiv 1802.02611; layers, rates and momentum as in VainF/DeepLabV3Plus-Pytorch. Its
    MobileNetV2 pads a block's input, this one the depthwise convolution, as in pytorch/vision.
    """
    check_choice("backbone", backbone, Backbone)
    check_choice("features", features, Level)
    if output_stride not in RATES:
        raise ValueError(f"output_stride must be 8 or 16, got {output_stride}.")
    if width < 4 or not 0 <= dropout < 1 or not 0 <= backbone_momentum < 1:
        raise ValueError(
            "width must be at least 4, dropout and backbone_momentum in [0, 1), got "
            f"{width}, {dropout} and {backbone_momentum}."
        )
    if backbone_width <= 0 or (backbone != "mobilenet_v2" and backbone_width != 1):
        raise ValueError(
            "backbone_width must be positive, and 1 for a ResNet, got "
            f"{backbone_width} for {backbone}."
        )
    make: Callable[..., nn.Module]
    if backbone == "mobilenet_v2":
        make, low, high = functools.partial(MobileNetV2Maps, width=backbone_width), 2, 5
    elif backbone == "resnet_tiny":
        make, low, high = functools.partial(ResNetMaps, **TINY), 2, 5
    else:
        layout = LAYOUTS[int(backbone.removeprefix("resnet"))]
        make, low, high = functools.partial(ResNetMaps, **layout), 1, 4
    return DeepLabV3Plus(
        num_classes=num_classes,
        backbone=make(
            output_stride=output_stride,
            momentum=backbone_momentum,
            axis_name=axis_name,
            dtype=float_dtype(dtype),
        ),
        low=f"stage{low}",
        high=f"stage{high}",
        rates=RATES[output_stride],
        features=features,
        width=width,
        dropout=dropout,
        axis_name=axis_name,
        dtype=float_dtype(dtype),
    )
