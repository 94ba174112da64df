"""One step of FD-CMKD in both directions, here and in PyTorch, on random numbers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from repeated import Repeated, in_layout, in_pytorch

from fdcmkd_jax import methods, models, tasks
from fdcmkd_jax.methods import Method
from fdcmkd_jax.training import optim, state
from fdcmkd_jax.training.devices import AXIS, Devices
from fdcmkd_jax.training.joint_step import make_joint_step
from fdcmkd_jax.training.step import TrainStep
from fdcmkd_jax.types import Batch, from_record, to_record

DIRECTIONS = {"audio->image": ("audio", "image"), "image->audio": ("image", "audio")}
WEIGHTS = {"task": 1.0, "align": 1.0, "auxiliary": 1.0, "low": 10.0, "high": 10.0}
Shapes = Mapping[str, tuple[int, ...]]


class Setting(NamedTuple):
    """The size of a step.

    Attributes:
        model: Name and options of both backbones, as in a config.
        shapes: The shape of one input by modality.
        num_classes: K.
        batch_size: N.
    """

    model: Mapping[str, Any]
    shapes: Shapes
    num_classes: int
    batch_size: int

    def arrays(self) -> dict[str, Any]:
        """Draws inputs ``[N, H, W, C]`` by modality, and ``label [N]``."""
        random = np.random.default_rng(0)
        inputs: dict[str, Any] = {
            name: random.normal(size=(self.batch_size, *shape)).astype(np.float32)
            for name, shape in self.shapes.items()
        }
        labels = random.integers(0, self.num_classes, self.batch_size).astype(np.int32)
        return {**inputs, "label": labels}


class OurStep(Repeated):
    """A step of this library, taken again and again.

    Args:
        setting: Its size.
        directions: The students that train together.
        method: The method of both, with weights 1; by default FD-CMKD with its own weights.
        devices: The devices to run on.
        cached: The batch holds the teachers' outputs, as in a run whose inputs are not augmented.
    """

    def __init__(
        self,
        setting: Setting,
        directions: tuple[str, ...] = tuple(DIRECTIONS),
        method: Method | None = None,
        devices: Devices | None = None,
        cached: bool = False,
    ) -> None:
        devices = devices or Devices()
        arrays = setting.arrays()
        task = tasks.make("classification", num_classes=setting.num_classes)
        distill = method or methods.make("fd_cmkd", axis_name=AXIS)
        weights = dict.fromkeys(("task", *distill.names), 1.0) if method else WEIGHTS
        model = models.make(**setting.model, num_classes=setting.num_classes, axis_name=AXIS)
        optimizer = optim.make(num_epochs=100, steps_per_epoch=3).transformation
        read = sorted({DIRECTIONS[name][0] for name in directions})
        states, steps = {}, {}
        for row, name in enumerate(directions):
            teacher, student = DIRECTIONS[name]
            variables = state.abstract_variables(model, arrays[teacher][:1])
            outputs = state.abstract_outputs(model, variables, arrays[teacher][:1])
            states[name] = state.create(
                jax.random.key(row),
                model,
                arrays[student][:1],
                distill,
                outputs,
                optimizer,
                setting.num_classes,
            )
            steps[name] = TrainStep(
                model, student, distill, task, weights, None, teacher, padded=False
            )
        running = () if cached else read
        variables = {name: _drawn(model, arrays[name][:1]) for name in read}
        step = make_joint_step(steps, dict.fromkeys(running, model))
        inputs = {DIRECTIONS[name][1]: arrays[DIRECTIONS[name][1]] for name in directions}
        known = {name: _outputs(model, variables[name], arrays[name]) for name in read}
        mask = np.ones(setting.batch_size, bool)
        batch = Batch(
            inputs,
            {name: arrays[name] for name in running},
            known if cached else None,
            task.targets(arrays["label"], labelled=mask, mask=mask),
        )
        super().__init__(
            devices.map(step, split_arguments=(False, False, True), donate=True),
            devices.replicate(states),
            devices.replicate({name: variables[name] for name in running}),
            devices.split(batch),
        )


def _drawn(model: Any, x: np.ndarray) -> dict[str, Any]:
    drawn = jax.jit(lambda key: model.init(key, x, train=False))(jax.random.key(9))
    return {name: drawn[name] for name in ("params", "batch_stats")}


def _outputs(model: Any, variables: Any, x: np.ndarray) -> Any:
    """Returns zeros in the place of a teacher's outputs, without maps."""
    shapes = to_record(state.abstract_outputs(model, variables, x))
    return from_record(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))


def their_step(
    setting: Setting,
    *,
    device: str = "cpu",
    precision: str = "float32",
    compiled: bool = False,
    channels_last: bool = True,
) -> Callable[[], None]:
    """Makes a step of the PyTorch baseline."""
    from benchmarks.pytorch_baseline import models as torch_models
    from benchmarks.pytorch_baseline import train
    from benchmarks.pytorch_baseline.distillation import Distillation

    def model(modality: str) -> torch_models.Model:
        channels, classes = setting.shapes[modality][-1], setting.num_classes
        if setting.model["name"] == "resnet_tiny":
            return torch_models.resnet_tiny(channels_in=channels, num_classes=classes)
        depth = setting.model["depth"]
        return torch_models.resnet(depth, channels_in=channels, num_classes=classes)

    hardware = train.Hardware(device, precision, compiled)
    teachers = {name: model(name) for name in setting.shapes}
    students = {name: model(student) for name, (_, student) in DIRECTIONS.items()}
    module = Distillation(teachers, students, WEIGHTS, setting.num_classes)
    prepared, batch = in_layout(module, setting.arrays(), hardware, channels_last=channels_last)
    return in_pytorch(prepared, batch, hardware)
