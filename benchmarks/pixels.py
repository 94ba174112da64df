"""One step of Hinton's KD between two DeepLabV3+ on random pictures, here and in PyTorch."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from repeated import Repeated, in_layout, in_pytorch

from fdcmkd_jax import methods, models, tasks
from fdcmkd_jax.training import optim, state
from fdcmkd_jax.training.devices import AXIS, Devices
from fdcmkd_jax.training.step import make_train_step
from fdcmkd_jax.types import Batch

BACKBONE, WIDTH, OUTPUT_STRIDE = "resnet18", 256, 16
TEMPERATURE, WEIGHTS = 4.0, {"task": 1.0, "divergence": 1.0}


@dataclasses.dataclass(frozen=True)
class Setting:
    """The size of a step.

    Attributes:
        batch_size: N.
        size: H and W; both models read three channels.
        num_classes: K.
        dtype: Of our activations.
    """

    batch_size: int
    size: tuple[int, int] = (480, 640)
    num_classes: int = 40
    dtype: str = "float32"

    def arrays(self) -> dict[str, Any]:
        """Draws ``depth`` and ``rgb [N, H, W, 3]``, and ``label [N, H, W]``."""
        random = np.random.default_rng(0)
        shape = (self.batch_size, *self.size)
        drawn = {name: random.normal(size=(*shape, 3)) for name in ("depth", "rgb")}
        arrays = {name: x.astype(np.float32) for name, x in drawn.items()}
        label = random.integers(0, self.num_classes, shape).astype(np.int32)
        return {**arrays, "label": label}


class OurStep(Repeated):
    """A step of this library, its frozen teacher included, taken again and again."""

    def __init__(self, setting: Setting) -> None:
        devices, arrays = Devices(), setting.arrays()
        task = tasks.make("segmentation", num_classes=setting.num_classes)
        method = methods.make("kd", temperature=TEMPERATURE)
        model = models.make(
            "deeplab_v3_plus",
            num_classes=setting.num_classes,
            backbone=BACKBONE,
            width=WIDTH,
            output_stride=OUTPUT_STRIDE,
            dropout=0.0,
            dtype=setting.dtype,
            axis_name=AXIS,
        )
        one = arrays["depth"][:1]
        drawn = jax.jit(lambda key: model.init(key, one, train=False))(jax.random.key(1))
        variables = {name: drawn[name] for name in ("params", "batch_stats")}
        start = state.create(
            jax.random.key(0),
            model,
            one,
            method,
            state.abstract_outputs(model, variables, one),
            optim.make(num_epochs=100, steps_per_epoch=3).transformation,
            setting.num_classes,
        )
        step = make_train_step(model, "rgb", method, task, WEIGHTS, model, "depth", padded=False)
        mask = np.ones(setting.batch_size, bool)
        batch = Batch(
            {"rgb": arrays["rgb"]},
            {"depth": arrays["depth"]},
            None,
            task.targets(arrays["label"], labelled=mask, mask=mask),
        )
        super().__init__(
            devices.map(step, split_arguments=(False, False, True), donate=True),
            devices.replicate(start),
            devices.replicate(variables),
            devices.split(batch),
        )


def their_step(
    setting: Setting, *, device: str, precision: str, compiled: bool, channels_last: bool
) -> Callable[[], None]:
    """Makes a step of PyTorch, with the model that tests compare ours with."""
    import torch
    from torch import nn
    from torch.nn import functional

    from benchmarks.pytorch_baseline.train import Hardware

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from torch_deeplab import DeepLab

    def model() -> nn.Module:
        return DeepLab(BACKBONE, 3, setting.num_classes, OUTPUT_STRIDE, WIDTH)

    class Distillation(nn.Module):
        """A student and its frozen teacher."""

        def __init__(self) -> None:
            super().__init__()
            self.student, self.teacher = model(), model().requires_grad_(False)

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            """Returns the two losses."""
            self.teacher.eval()
            logits = self.student(batch["rgb"])[0].float()
            with torch.no_grad():
                goal = self.teacher(batch["depth"])[0].float()
            soft = functional.log_softmax(logits / TEMPERATURE, 1)
            target = functional.log_softmax(goal / TEMPERATURE, 1)
            pixels = batch["label"].numel()
            divergence = functional.kl_div(soft, target, reduction="sum", log_target=True)
            task = functional.cross_entropy(logits, batch["label"])
            return torch.stack([task, TEMPERATURE**2 * divergence / pixels])

    hardware = Hardware(device, precision, compiled)
    arrays = setting.arrays()
    module, batch = in_layout(Distillation(), arrays, hardware, channels_last=channels_last)
    return in_pytorch(module, batch, hardware)
