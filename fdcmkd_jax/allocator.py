"""The C library's allocator, set to keep what a training step frees for the next one."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, from glibc's ``malloc.h``."""


def keep_freed_memory() -> None:
    """Stops glibc from giving large blocks back to the system each time they are freed.

    XLA takes its scratch memory anew in every step on a CPU, and the system then has to clear
    each page of it again. Kept, a forward and backward pass over 64 images takes two thirds of the
    time (``benchmarks/allocator.py``). The process holds on to the most it ever needed. Does
    nothing where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
