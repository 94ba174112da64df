"""The terms of FD-CMKD, each a mean over the batch, and the heads that some of them need."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

BANDS = ("low", "high")


def split_bands(features: Tensor) -> dict[str, Tensor]:
    """Low bins 1..D/4 and high bins D/4+1..D/2 of the DFT over D; the mean is in neither."""
    size = features.shape[-1]
    spectrum = torch.fft.rfft(features)
    bins = torch.arange(spectrum.shape[-1], device=features.device)
    cut = size // 2 // 2
    masks = {"low": (bins >= 1) & (bins <= cut), "high": bins > cut}
    return {name: torch.fft.irfft(spectrum * mask, n=size) for name, mask in masks.items()}


def unit(band: Tensor) -> Tensor:
    """Each row divided by its L2 norm, clamped at 1e-8."""
    return band / band.norm(dim=-1, keepdim=True).clamp_min(1e-8)


def signed_log(x: Tensor) -> Tensor:
    """``sign(x) log(1 + |x|)``."""
    return x.sign() * x.abs().log1p()


class Heads(nn.Module):
    """The linear classifiers of one direction, each fed ReLU(band)."""

    def __init__(self, num_features: int, num_classes: int, *, auxiliary: bool) -> None:
        super().__init__()
        groups = ("align", "auxiliary") if auxiliary else ("align",)
        self.groups = nn.ModuleDict(
            {
                group: nn.ModuleDict({band: nn.Linear(num_features, num_classes) for band in BANDS})
                for group in groups
            }
        )

    def loss(self, group: str, bands: dict[str, Tensor], labels: Tensor) -> Tensor:
        """The sum of a group's two cross-entropies on one model's bands."""
        heads = cast(nn.ModuleDict, self.groups[group])
        losses = [
            functional.cross_entropy(heads[band](functional.relu(bands[band])), labels)
            for band in BANDS
        ]
        return losses[0] + losses[1]


def terms(
    heads: Heads, logits: Tensor, features: Tensor, teacher_features: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Every term of the total, unweighted."""
    student, teacher = split_bands(features), split_bands(teacher_features)
    result = {
        "task": functional.cross_entropy(logits, labels),
        "align": heads.loss("align", student, labels) + heads.loss("align", teacher, labels),
        "low": functional.mse_loss(unit(student["low"]), unit(teacher["low"])),
        "high": functional.mse_loss(
            signed_log(unit(student["high"])), signed_log(unit(teacher["high"]))
        ),
    }
    if "auxiliary" in heads.groups:
        result["auxiliary"] = heads.loss("auxiliary", student, labels)
    return result
