"""Steps on one batch that are taken again and again, here and in PyTorch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


class Repeated:
    """A step of this library, which keeps the states that it returns.

    Args:
        program: The mapped step, ``(states, teachers, batch) -> (states, sums)``.
        states: On the devices.
        teachers: On the devices.
        batch: On the devices.
    """

    def __init__(self, program: Any, states: Any, teachers: Any, batch: Any) -> None:
        self.program, self.states, self.teachers, self.batch = program, states, teachers, batch

    def __call__(self) -> None:
        """Takes one step and waits for it."""
        self.states, sums = self.program(self.states, self.teachers, self.batch)
        jax.block_until_ready((self.states, sums))

    def analysis(self) -> tuple[float, float]:
        """Returns XLA's count of floating-point operations, and its temporary memory in MiB."""
        program = self.program.lower(self.states, self.teachers, self.batch).compile()
        costs: Any = program.cost_analysis()
        costs = costs[0] if isinstance(costs, list) else costs
        memory: Any = program.memory_analysis()
        return float(costs["flops"]), memory.temp_size_in_bytes / 2**20


def in_layout(
    module: Any, arrays: Mapping[str, np.ndarray], hardware: Any, *, channels_last: bool
) -> tuple[Any, dict[str, Any]]:
    """Returns a module of PyTorch in training mode, and its batch, on the device in a layout.

    Args:
        module: The module.
        arrays: Inputs ``[N, H, W, C]`` by name, and ``label``.
        hardware: The device and precision, `pytorch_baseline.train.Hardware`.
        channels_last: Whether C comes last in memory.
    """
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    batch = {
        name: torch.from_numpy(x).permute(0, 3, 1, 2).to(memory_format=layout)
        for name, x in arrays.items()
        if name != "label"
    }
    batch["label"] = torch.from_numpy(arrays["label"].astype(np.int64))
    return hardware.prepare(module).train().to(memory_format=layout), batch


def in_pytorch(module: Any, batch: Mapping[str, Any], hardware: Any) -> Callable[[], None]:
    """Makes a function that takes one step of a prepared module of PyTorch and waits for it."""
    import torch

    from benchmarks.pytorch_baseline.train import Recipe

    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    step = hardware.step(module, Recipe().optimizer(trained))
    moved = hardware.move(batch)

    def run() -> None:
        step(moved)
        if hardware.device == "cuda":
            torch.cuda.synchronize()

    return run
