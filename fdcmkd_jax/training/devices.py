"""The mapping of steps over devices: the only module that names pmap, shard_map and the axis."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Batch

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

    @property
    def count(self) -> int:
        """Number of devices, over all processes."""
        return len(self.devices)

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    @functools.cached_property
    def _local(self) -> int:
        """Number of devices of this process."""
        return sum(device.process_index == jax.process_index() for device in self.devices)

    def map(
        self, step: Callable, *, batch_argument: int, split_output: int | None, donate: bool
    ) -> Callable:
        """Compiles a step over all devices.

        Args:
            step: Takes three arguments and returns two results.
            batch_argument: Position of the argument that is a batch, split over the devices by
                `split`.
            split_output: Position of the result with rows of that batch; None if neither has.
            donate: Reuse the buffers of the first argument.

        Returns:
            The compiled step; the results that are not split are equal on all devices.
        """
        split_in = [index == batch_argument for index in range(3)]
        split_out = [index == split_output for index in range(2)]
        donated = (0,) if donate else ()
        if self.parallel == "pmap":
            return jax.pmap(
                step,
                axis_name=AXIS,
                in_axes=tuple(0 if split else None for split in split_in),
                out_axes=tuple(0 if split else None for split in split_out),
                devices=self.devices,
                donate_argnums=donated,
            )

        def specs(split: Sequence[bool]) -> tuple[PartitionSpec, ...]:
            return tuple(PartitionSpec(AXIS) if is_split else PartitionSpec() for is_split in split)

        # With check_vma=True, gradients of replicated parameters arrive already summed over the
        # axis, and the step's own sum would count them once per device.
        mapped = jax.shard_map(
            step,
            mesh=self._mesh,
            in_specs=specs(split_in),
            out_specs=specs(split_out),
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

    def split(self, batch: Batch) -> Any:
        """Sends this process's rows of a batch, ``[N, ...]`` each, to the devices of a step."""
        if self.parallel == "pmap":
            batch = jax.tree.map(lambda x: x.reshape(self._local, -1, *x.shape[1:]), batch)
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
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


def _local_rows(x: jax.Array) -> np.ndarray:
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
