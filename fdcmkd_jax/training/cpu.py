"""Settings of XLA for processors; elsewhere they are empty."""

import jax


def run_once() -> dict[str, int]:
    """Returns the compiler's options for a program that runs once, such as an initialization.

    XLA's default is to unroll the loops in which random numbers are drawn, which takes longer than
    it saves in one run: a ResNet's initialization compiles in a fifth of the time without, to the
    same bits.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
