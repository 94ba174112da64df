"""Settings of the C library's allocator, so that a step reuses the memory the last one freed."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, from glibc's ``malloc.h``."""


def keep_freed_memory() -> None:
    """Stops glibc from returning large freed blocks to the system.

    On a CPU, XLA allocates its scratch memory anew in every step, and the system then has to clear
    each page of it again. With the memory kept, a forward and backward pass over 64 images takes
    two thirds of the time (``benchmarks/allocator.py``). The process keeps the most memory it ever
    needed. Does nothing with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
