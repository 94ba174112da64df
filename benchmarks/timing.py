"""Flags of the small benchmarks, and alternating timings."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np


def flags(description: str | None) -> argparse.Namespace:
    """Reads ``--batch`` and ``--repeats``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="examples in a batch")
    parser.add_argument("--repeats", type=int, default=30, help="steps of each variant")
    return parser.parse_args()


def quartiles(values: Sequence[float]) -> list[float]:
    """Returns the first quartile, the median and the third quartile."""
    return [float(x) for x in np.percentile(values, (25, 50, 75))]


def in_turn(steps: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Returns the median milliseconds of each step; see `seconds_in_turn`."""
    return [1e3 * statistics.median(seconds) for seconds in seconds_in_turn(steps, repeats)]


def seconds_in_turn(steps: Sequence[Callable[[], None]], repeats: int) -> list[list[float]]:
    """Measures the seconds of each step, all of which run once in every round.

    The speed of a shared machine changes over seconds. In turn, it changes for all steps alike, so
    the ratio of two medians is more reliable than either of them.
    """
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, seconds in zip(steps, times, strict=True):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
    return times
