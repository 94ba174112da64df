"""A request to stop: SIGTERM ends a run at the next row of its log, where its state is saved."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class StoppedError(Exception):
    """Training stopped on request; the same command continues it."""


class StopRequest:
    """The flag that asks a run to stop."""

    def __init__(self) -> None:
        self._requested = False

    def __bool__(self) -> bool:
        return self._requested

    def set(self) -> None:
        """Requests the stop."""
        self._requested = True


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turns the first SIGTERM into a stop request; a second one ends the process at once.

    Signal handlers can only be set in the main thread; elsewhere SIGTERM keeps its meaning.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        request.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    try:
        previous = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # Not the main thread.
        yield request
        return
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, previous)
