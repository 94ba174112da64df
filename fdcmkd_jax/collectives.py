"""Sums over the devices of a mapped axis, which cost nothing where it has one device.

XLA keeps a collective of one device as an operation of its own, across which it fuses nothing: a
training step of ``resnet_tiny`` takes a tenth longer with its collectives.
"""

from typing import Any

from jax import lax


def is_alone(axis_name: str | None) -> bool:
    """Returns whether there is no mapped axis, or one of a single device."""
    return axis_name is None or lax.axis_size(axis_name) == 1


def psum(tree: Any, axis_name: str | None) -> Any:
    """Sums each array of a tree over the devices.

    Args:
        tree: Arrays of any shape.
        axis_name: The mapped axis; None on one device.

    Returns:
        The sums, equal on all devices.
    """
    return tree if is_alone(axis_name) else lax.psum(tree, axis_name)


def pmean(tree: Any, axis_name: str | None) -> Any:
    """Averages each array of a tree over the devices; see `psum`."""
    return tree if is_alone(axis_name) else lax.pmean(tree, axis_name)
