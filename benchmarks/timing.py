"""What the small benchmarks share: their flags, and timing forms of one step in turn."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence


def flags(description: str | None) -> argparse.Namespace:
    """Reads ``--batch`` and ``--repeats``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="examples in a batch")
    parser.add_argument("--repeats", type=int, default=30, help="steps of each form")
    return parser.parse_args()


def in_turn(steps: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Median milliseconds of each step; see `seconds_in_turn`."""
    return [1e3 * statistics.median(found) for found in seconds_in_turn(steps, repeats)]


def seconds_in_turn(steps: Sequence[Callable[[], None]], repeats: int) -> list[list[float]]:
    """Seconds of each run of each step, all run once in every round.

    A machine's mood changes over seconds; in turn it is the same for all, so that the ratio of two
    medians can be trusted where neither can.
    """
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, found in zip(steps, times, strict=True):
            began = time.perf_counter()
            step()
            found.append(time.perf_counter() - began)
    return times
