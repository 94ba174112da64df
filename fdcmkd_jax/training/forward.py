"""The forward pass of a model that is not trained: one program for all who need it."""

import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from fdcmkd_jax.training.devices import PROGRAMS, Devices
from fdcmkd_jax.types import Outputs, Params


@functools.lru_cache(maxsize=PROGRAMS)
def forward_program(
    devices: Devices, model: nn.Module, *, with_maps: bool = False
) -> Callable[[Params, Any], Outputs]:
    """Compiles a model's forward pass in evaluation mode.

    A teacher and a student of one architecture share it, and so do their evaluations and the
    outputs that a frozen teacher computes once.

    Args:
        devices: The devices to run on.
        model: The backbone.
        with_maps: Return maps too, which take more memory than all other outputs.

    Returns:
        ``(variables, inputs) -> outputs``; variables as `Devices.replicate` returns them, inputs as
        `Devices.split` does, and outputs as `Devices.gather` takes them.
    """

    def forward(variables: Params, inputs: Any) -> Any:
        outputs: Any = model.apply(variables, inputs, train=False)
        return outputs if with_maps else outputs.replace(maps={})

    return devices.map(forward, split_arguments=(False, True), split_result=True)
