"""The mapping of steps over devices: the only module that names pmap, shard_map and the axis."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fdcmkd_jax.registry import ConfigError

AXIS = "batch"
"""Name of the mapped axis over which steps sum and BatchNorm synchronizes."""

PROGRAMS = 32
"""Number of compiled steps kept for later runs in the same process."""


@dataclass(frozen=True)
class Devices:
    """Maps steps over devices by ``jax.pmap`` or by ``jax.shard_map``.

    States and other whole trees carry no device axis either way; batches are split by rows.

    Attributes:
        parallel: The map.
        devices: The devices; all if none is named.

    Raises:
        ValueError: If the map is unknown.
    """

    parallel: Literal["pmap", "shard_map"] = "pmap"
    devices: Sequence[jax.Device] = ()

    def __post_init__(self) -> None:
        if self.parallel not in ("pmap", "shard_map"):
            raise ValueError(f"parallel must be 'pmap' or 'shard_map', got {self.parallel!r}.")
        # A tuple, so that equal devices hash alike.
        object.__setattr__(self, "devices", tuple(self.devices or jax.devices()))

    @functools.cached_property
    def local(self) -> "Devices":
        """The devices of this process alone."""
        process = jax.process_index()
        return Devices(self.parallel, [d for d in self.devices if d.process_index == process])

    @property
    def count(self) -> int:
        """Number of devices, over all processes."""
        return len(self.devices)

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    def map(
        self,
        step: Callable,
        *,
        split_arguments: Sequence[bool],
        split_result: bool = False,
        donate: bool = False,
    ) -> Callable:
        """Compiles a step over all devices.

        Args:
            step: The step.
            split_arguments: Of each argument, whether it has rows of a batch, split over the
                devices by `split`.
            split_result: Whether the result has such rows; else it must be equal on all devices.
            donate: Reuse the buffers of the first argument.

        Returns:
            The compiled step.
        """
        donated = (0,) if donate else ()
        if self.parallel == "pmap":
            return jax.pmap(
                step,
                axis_name=AXIS,
                in_axes=tuple(0 if split else None for split in split_arguments),
                out_axes=0 if split_result else None,
                devices=self.devices,
                donate_argnums=donated,
            )

        def spec(is_split: bool) -> PartitionSpec:
            return PartitionSpec(AXIS) if is_split else PartitionSpec()

        # With check_vma=True, gradients of replicated parameters arrive already summed over the
        # axis, and the step's own sum would count them once per device.
        mapped = jax.shard_map(
            step,
            mesh=self._mesh,
            in_specs=tuple(map(spec, split_arguments)),
            out_specs=spec(split_result),
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donated)

    def check(self, batch_size: int) -> None:
        """Raises ConfigError unless a global batch falls evenly on the devices."""
        if batch_size % self.count:
            raise ConfigError(
                f"a batch of {batch_size} does not divide over {self.count} devices; "
                f"use a multiple of {self.count}."
            )

    def replicate(self, tree: Any) -> Any:
        """Copies a host tree to every device, with the sharding that a mapped step returns."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def split(self, batch: Any) -> Any:
        """Sends this process's rows of a `Batch`, or of its arrays, to the devices."""
        if self.parallel == "pmap":
            batch = jax.tree.map(lambda x: x.reshape(self.local.count, -1, *x.shape[1:]), batch)
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        if jax.process_count() == 1:
            return jax.device_put(batch, sharding)  # All arrays in one call.
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
        )

    def gather(self, examples: Any) -> Any:
        """Returns this process's rows of a step's split result as host arrays ``[N, ...]``."""
        if self.parallel == "pmap":
            return jax.tree.map(lambda x: _local_rows(x).reshape(-1, *x.shape[2:]), examples)
        return jax.tree.map(_local_rows, examples)


def to_host(tree: Any) -> Any:
    """Copies a replicated tree to NumPy arrays, for any number of devices and processes.

    A view of the CPU's buffer would change when the buffer is donated, hence the copies.
    """
    return jax.tree.map(
        lambda x: np.array(x.addressable_data(0)) if isinstance(x, jax.Array) else x, tree
    )


def first_of_processes(value: bool) -> bool:
    """Returns the first process's value in all processes, which must all call this."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def _local_rows(x: jax.Array) -> np.ndarray:
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
