"""Batches on the devices, one ahead of the step, with the time that steps wait for them."""

import time
from typing import Any

import jax

from fdcmkd_jax.data.stream import TrainBatches
from fdcmkd_jax.training.devices import Devices


class Feed:
    """Reads a batch and sends it to the devices while they compute the step before.

    Args:
        data: The batches.
        devices: The devices they go to.

    Attributes:
        position: The position in the data after the batch that was last taken.
    """

    def __init__(self, data: TrainBatches, devices: Devices) -> None:
        self._data, self._devices = data, devices
        self._next: Any = None
        self.position = data.get_state()
        self.start_row()

    def take(self) -> Any:
        """Returns the next batch, laid out for a mapped step."""
        if self._next is None:
            self.read_ahead(None)
        batch, self._next = self._next, None
        self.position = self._data.get_state()
        return batch

    def read_ahead(self, running: Any) -> None:
        """Reads the next batch and sends it to the devices.

        Args:
            running: Results of the step that the devices compute meanwhile; None if they are idle.
                As long as the step runs, nothing waits for data.
        """
        began = time.monotonic()
        batch = next(self._data)
        if running is None or all(x.is_ready() for x in jax.tree.leaves(running)):
            self._waited += time.monotonic() - began
        self._next = self._devices.split(batch)

    def start_row(self) -> None:
        """Starts to count anew, for the next row of the log."""
        self._row_began, self._waited = time.monotonic(), 0.0

    def waiting_share(self) -> float:
        """Returns the share of the time since `start_row` in which steps waited for data.

        An upper bound: a wait during which a step ends counts as a whole.
        """
        return self._waited / max(time.monotonic() - self._row_began, 1e-9)
