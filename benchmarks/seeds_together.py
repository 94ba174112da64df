"""Speed of training several seeds in one program and one after another, on this device.

    python benchmarks/seeds_together.py

One program trains them one by one (`jax.lax.map`) or side by side (`jax.vmap`). The three ways
alternate in one process, on batches that are on the device already.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from cached_teacher import training
from timing import flags, in_turn

from fdcmkd_jax.training.allocator import keep_freed_memory
from fdcmkd_jax.training.devices import AXIS


def main() -> None:
    """Prints milliseconds per seed and step of each way."""
    arguments = flags(__doc__)
    keep_freed_memory()  # As training does.
    print("| direction | seeds | one after another | lax.map | vmap |")
    print("| --- | --- | --- | --- | --- |")
    for teacher, student in (("audio", "image"), ("image", "audio")):
        for seeds in (2, 8):
            times = in_turn(forms(teacher, student, arguments.batch, seeds), arguments.repeats)
            alone, mapped, side_by_side = (time / seeds for time in times)
            print(
                f"| {teacher}->{student} | {seeds} | {alone:.1f} | {mapped:.1f} "
                f"({alone / mapped:.2f} times as fast) | {side_by_side:.1f} "
                f"({alone / side_by_side:.2f} times) |",
                flush=True,
            )


def forms(teacher: str, student: str, size: int, seeds: int) -> list[Callable[[], None]]:
    """Makes a step of all seeds in three ways: one after another, `jax.lax.map`, `jax.vmap`."""
    setting = training(teacher, student, size)

    def step(state: Any, batch: Any) -> Any:
        """Takes a step on one device: sums over an axis of size 1 are the device's own."""
        batches = jax.tree.map(lambda x: x[None], batch)
        over_devices = jax.vmap(setting.step, in_axes=(None, None, 0), axis_name=AXIS)
        states, _ = over_devices(state, {}, batches)
        return jax.tree.map(lambda x: x[0], states)

    stacked = jax.tree.map(lambda x: jnp.stack([x] * seeds), (setting.start, setting.cached))
    alone = repeated(jax.jit(step), setting.start, setting.cached)

    def one_after_another() -> None:
        for _ in range(seeds):
            alone()

    def one_by_one(states: Any, batches: Any) -> Any:
        return jax.lax.map(lambda pair: step(*pair), (states, batches))

    return [
        one_after_another,
        repeated(jax.jit(one_by_one), *stacked),
        repeated(jax.jit(jax.vmap(step)), *stacked),
    ]


def repeated(step: Callable[..., Any], state: Any, batch: Any) -> Callable[[], None]:
    """Makes a function that takes one more compiled step."""

    def once() -> None:
        nonlocal state
        state = step(state, batch)
        jax.block_until_ready(state.params)

    once()  # Compiles.
    return once


if __name__ == "__main__":
    main()
