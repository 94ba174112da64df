"""Settings of XLA for processors; on other devices they change nothing."""

import os

import jax


def run_once() -> dict[str, int]:
    """Returns the compiler's options for a program that runs once, such as an initialization.

    XLA's default is to unroll the loops in which random numbers are drawn, which takes longer than
    it saves in one run: a ResNet's initialization compiles in a fifth of the time without, to the
    same bits.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def compile_in_less_memory() -> None:
    """Selects the code generator of XLA that takes less memory, before JAX starts its backend.

    Steps are as fast, and the peak memory of a run that compiles its programs falls by a third (see
    docs/performance.md). Adds a flag to ``XLA_FLAGS``, before those of the user, which prevail.
    """
    flag = "--xla_cpu_use_fusion_emitters=false"
    flags = os.environ.get("XLA_FLAGS", "")
    # An unknown flag ends the process, and later versions may drop this one.
    if jax.__version_info__[:2] == (0, 10) and flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flag} {flags}".strip()
