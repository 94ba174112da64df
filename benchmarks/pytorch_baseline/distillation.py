"""Modules whose forward pass returns the losses of models trained alone, or by FD-CMKD."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.pytorch_baseline import data, losses
from benchmarks.pytorch_baseline.models import Model, initialize

DIRECTIONS = {"audio->image": ("audio", "image"), "image->audio": ("image", "audio")}


class Alone(nn.Module):
    """Models of several modalities, each trained by its own cross-entropy."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)

    def forward(self, batch: data.Batch) -> Tensor:
        """Returns one loss per model, shape ``[M]``."""
        return torch.stack(
            [
                functional.cross_entropy(model(batch[modality])[0], batch["label"])
                for modality, model in self.models.items()
            ]
        )


class Distillation(nn.Module):
    """Both directions: two students with their heads, and two frozen teachers.

    Args:
        teachers: By modality; frozen here.
        students: By direction.
        weights: One per term; without a weight there are no auxiliary heads.
        num_classes: K.
    """

    def __init__(
        self,
        teachers: Mapping[str, Model],
        students: Mapping[str, Model],
        weights: Mapping[str, float],
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.students = nn.ModuleDict(students)
        self.heads = nn.ModuleDict(
            {
                name: losses.Heads(
                    student.net.num_features, num_classes, auxiliary="auxiliary" in weights
                )
                for name, student in students.items()
            }
        )
        initialize(self.heads)
        self.teachers = nn.ModuleDict(teachers).requires_grad_(False)
        self.weights = weights

    def train(self, mode: bool = True) -> "Distillation":
        """Sets the mode of the students; teachers stay in evaluation mode."""
        super().train(mode)
        self.teachers.eval()
        return self

    def terms(self, batch: data.Batch) -> dict[str, dict[str, Tensor]]:
        """Computes the unweighted terms of each direction."""
        result = {}
        for name, (source, target) in DIRECTIONS.items():
            with torch.no_grad():
                _, teacher_features = self.teachers[source](batch[source])
            logits, features = self.students[name](batch[target])
            heads = cast(losses.Heads, self.heads[name])
            result[name] = losses.terms(heads, logits, features, teacher_features, batch["label"])
        return result

    def forward(self, batch: data.Batch) -> Tensor:
        """Returns the weighted total of each direction, shape ``[2]``."""
        totals = [
            torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
            for terms in self.terms(batch).values()
        ]
        return torch.stack(totals)
