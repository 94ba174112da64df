"""A PyTorch model."""

import pytest
import torch
from interop_runs import K

from benchmarks.pytorch_baseline import models as torch_models


@pytest.fixture(scope="module")
def tiny():
    """A PyTorch model that has seen a few batches."""
    torch.manual_seed(0)
    model = torch_models.resnet_tiny(num_classes=K)
    for _ in range(2):
        model(torch.randn(4, 1, 28, 28))
    return model.eval()
