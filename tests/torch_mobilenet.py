"""MobileNetV2 in PyTorch, with the keys of the older flat layout."""

import torch
from torch import Tensor, nn

# Expansion, channels out, blocks, first stride: Table 2 of arXiv 1801.04381.
TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2))
TABLE += ((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Block(nn.Module):
    """Expansion, depthwise convolution, projection."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(before, inside, 1, bias=False), nn.BatchNorm2d(inside), nn.ReLU6()]
        layers += [
            nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False),
            nn.BatchNorm2d(inside),
            nn.ReLU6(),
            nn.Conv2d(inside, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """The convolutional part; without dropout."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        stem = [nn.Conv2d(channels, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
        parts: list[nn.Module] = [nn.Sequential(*stem)]
        width = 32
        for expansion, after, blocks, stride in TABLE:
            for index in range(blocks):
                parts.append(Block(width, after, stride if index == 0 else 1, expansion))
                width = after
        parts.append(nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280)))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``[N, C, H, W]`` to logits and the pooled features before the last ReLU6."""
        last = self.features(x)
        logits = self.classifier(torch.clamp(last, 0, 6).mean((2, 3)))
        return logits, last.mean((2, 3))
