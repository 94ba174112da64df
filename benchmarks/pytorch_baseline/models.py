"""Residual networks that also return the last map before its ReLU, as distillation needs it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolution(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A square convolution without bias that keeps H and W at stride 1."""
    return nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """A residual block without its final ReLU."""

    def __init__(self, channels_in: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        channels_out = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = convolution(channels_in, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = convolution(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = convolution(width, channels_out, 1), nn.BatchNorm2d(channels_out)
        else:
            self.conv1, self.bn1 = convolution(channels_in, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = convolution(width, width, 3), nn.BatchNorm2d(width)
        self.bottleneck = bottleneck
        self.downsample = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                convolution(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``[N, C, H, W]`` in and out."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(functional.relu(y)))
        return y + self.downsample(x)


class ResNet(nn.Module):
    """The convolutional part, its parameters named as in pytorch/vision."""

    def __init__(
        self,
        channels_in: int,
        stem_width: int,
        stages: Sequence[tuple[int, int, int]],
        *,
        large_stem: bool,
        bottleneck: bool = False,
    ) -> None:
        """``stages`` lists each stage's width, first stride and number of blocks."""
        super().__init__()
        self.conv1 = convolution(channels_in, stem_width, 7 if large_stem else 3, 2)
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large_stem else nn.Identity()
        channels = stem_width
        self.num_stages = len(stages)
        for number, (width, stride, depth) in enumerate(stages, 1):
            blocks = []
            for index in range(depth):
                blocks.append(Block(channels, width, stride if index == 0 else 1, bottleneck))
                channels = 4 * width if bottleneck else width
            self.add_module(f"layer{number}", nn.ModuleList(blocks))
        self.num_features = channels

    def forward(self, x: Tensor) -> Tensor:
        """The last block's map before its ReLU, shape ``[N, D, h, w]``."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
        last = x
        for number in range(1, self.num_stages + 1):
            for block in getattr(self, f"layer{number}"):
                last = block(x)
                x = functional.relu(last)
        return last


class Model(nn.Module):
    """A backbone and its classifier: ``net.*`` and ``classifier.*``, as in the public code."""

    def __init__(self, net: ResNet, num_classes: int) -> None:
        super().__init__()
        self.net = net
        self.classifier = nn.Linear(net.num_features, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[N, K]`` and the pooled features before the last ReLU, ``[N, D]``."""
        last = self.net(x)
        return self.classifier(functional.relu(last).mean((2, 3))), last.mean((2, 3))


def initialize(model: nn.Module) -> None:
    """Kaiming-normal convolutions over the fan-out, Xavier-normal dense layers, zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)


def resnet(depth: int, *, channels_in: int, num_classes: int) -> Model:
    """ResNet-18, -34 or -50."""
    depths = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
    stages = list(zip((64, 128, 256, 512), (1, 2, 2, 2), depths, strict=True))
    net = ResNet(channels_in, 64, stages, large_stem=True, bottleneck=depth == 50)
    model = Model(net, num_classes)
    initialize(model)
    return model


def resnet_tiny(*, channels_in: int = 1, num_classes: int = 10) -> Model:
    """Five basic blocks and 0.6 M parameters; D = 128."""
    stages = [(16, 1, 1), (32, 2, 1), (64, 2, 1), (128, 2, 1), (128, 1, 1)]
    model = Model(ResNet(channels_in, 16, stages, large_stem=False), num_classes)
    initialize(model)
    return model


def images_first(x: Tensor) -> Tensor:
    """Shape ``[N, H, W, C]`` as ``[N, C, H, W]`` in the channels-last layout, without a copy."""
    return x.permute(0, 3, 1, 2).to(memory_format=torch.channels_last)
