"""DeepLabV3+ in PyTorch, with the keys of the usual port."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_mobilenet import TABLE
from torch_mobilenet import Block as MobileBlock


def unit(before: int, after: int, size: int = 1, stride: int = 1, dilation: int = 1) -> list:
    """A convolution and its BatchNorm."""
    pad = size // 2 * dilation
    layer = nn.Conv2d(before, after, size, stride, pad, dilation=dilation, bias=False)
    return [layer, nn.BatchNorm2d(after)]


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1."""

    def __init__(self, before, width, stride, first, later, *, bottleneck):
        super().__init__()
        after = width * 4 if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = unit(before, width)
            self.conv2, self.bn2 = unit(width, width, 3, stride, first)
            self.conv3, self.bn3 = unit(width, after)
        else:
            self.conv1, self.bn1 = unit(before, width, 3, stride, first)
            self.conv2, self.bn2 = unit(width, width, 3, 1, later)
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(*unit(before, after, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if hasattr(self, "conv3"):
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    """The stages of a ResNet, dilated beyond the output stride."""

    def __init__(self, channels: int, depths: tuple, output_stride: int, *, bottleneck: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before, dilation, reached = 64, 1, 4
        for stage, depth in enumerate(depths, 1):
            first, stride = dilation, 1 if stage == 1 else 2
            if reached * stride > output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            blocks = []
            for index in range(depth):
                inside = 32 * 2**stage
                blocks.append(
                    Block(
                        before,
                        inside,
                        stride if index == 0 else 1,
                        first if index == 0 else dilation,
                        dilation,
                        bottleneck=bottleneck,
                    )
                )
                before = inside * 4 if bottleneck else inside
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.widths = (256 if bottleneck else 64, before)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))


class MobileNet(nn.Module):
    """The blocks of MobileNetV2, dilated beyond the output stride."""

    widths = (24, 320)

    def __init__(self, channels: int, output_stride: int) -> None:
        super().__init__()
        stem = [nn.Conv2d(channels, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
        parts: list[nn.Module] = [nn.Sequential(*stem)]
        width, dilation, reached = 32, 1, 2
        for expansion, after, blocks, step in TABLE:
            first, stride = dilation, step
            if reached * step > output_stride:
                stride, dilation = 1, dilation * step
            reached *= stride
            for index in range(blocks):
                block = MobileBlock(width, after, stride if index == 0 else 1, expansion)
                for layer in block.conv:
                    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                        rate = first if index == 0 else dilation
                        layer.dilation = layer.padding = (rate, rate)
                parts.append(block)
                width = after
        self.low_level_features = nn.Sequential(*parts[:4])
        self.high_level_features = nn.Sequential()
        for index, part in enumerate(parts[4:], 4):
            self.high_level_features.add_module(str(index), part)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low_level_features(x)
        return low, self.high_level_features(low)


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling."""

    def __init__(self, before: int, width: int, rates: tuple) -> None:
        super().__init__()
        branches = [nn.Sequential(*unit(before, width), nn.ReLU())]
        branches += [nn.Sequential(*unit(before, width, 3, 1, rate), nn.ReLU()) for rate in rates]
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), *unit(before, width), nn.ReLU())
        self.convs = nn.ModuleList([*branches, pool])
        self.project = nn.Sequential(*unit(5 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        results = [F.interpolate(branch(x), size, mode="bilinear") for branch in self.convs]
        return self.project(torch.cat(results, 1))


class Head(nn.Module):
    """The pyramid and the decoder."""

    def __init__(self, widths: tuple, width: int, num_classes: int, rates: tuple) -> None:
        super().__init__()
        self.project = nn.Sequential(*unit(widths[0], 48), nn.ReLU())
        self.aspp = Aspp(widths[1], width, rates)
        last = nn.Conv2d(width, num_classes, 1)
        self.classifier = nn.Sequential(*unit(48 + width, width, 3), nn.ReLU(), last)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        aspp = self.aspp(high)
        x = F.interpolate(torch.relu(aspp), low.shape[2:], mode="bilinear", align_corners=False)
        x = torch.cat([self.project(low), x], 1)
        decoder = self.classifier[1](self.classifier[0](x))
        return self.classifier[3](torch.relu(decoder)), decoder, aspp


class DeepLab(nn.Module):
    """DeepLabV3+ without dropout."""

    def __init__(self, backbone, channels, num_classes, output_stride, width):
        super().__init__()
        if backbone == "mobilenet_v2":
            self.backbone = MobileNet(channels, output_stride)
        else:
            depths = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}[backbone]
            bottleneck = backbone == "resnet50"
            self.backbone = ResNet(channels, depths, output_stride, bottleneck=bottleneck)
        rates = (6, 12, 18) if output_stride == 16 else (12, 24, 36)
        self.classifier = Head(self.backbone.widths, width, num_classes, rates)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps ``[N, C, H, W]`` to logits of its size, and both features before their ReLU."""
        logits, decoder, aspp = self.classifier(*self.backbone(x))
        logits = F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)
        return logits, decoder, aspp
