"""Whether several seeds train faster in one program than one after another, on this device.

    python benchmarks/seeds_together.py

One program trains them one by one (`jax.lax.map`) or side by side (`jax.vmap`). All forms run
alternately in one process, on batches that are on the device already.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from cached_teacher import training
from timing import flags, in_turn

from fdcmkd_jax.allocator import keep_freed_memory
from fdcmkd_jax.step import AXIS


def main() -> None:
    """Prints milliseconds for one seed and step of every form."""
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
    """One step of every seed: one after another, by one program one by one, side by side."""
    given = training(teacher, student, size)

    def step(state: Any, batch: Any) -> Any:
        """On one device: an axis of one, over which the sums are the device's own."""
        batches = jax.tree.map(lambda x: x[None], batch)
        over_devices = jax.vmap(given.step, in_axes=(None, None, 0), axis_name=AXIS)
        states, _ = over_devices(state, {}, batches)
        return jax.tree.map(lambda x: x[0], states)

    stacked = jax.tree.map(lambda x: jnp.stack([x] * seeds), (given.start, given.known))
    alone = repeated(jax.jit(step), given.start, given.known)

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
    """A compiled step that goes on from its last state."""

    def once() -> None:
        nonlocal state
        state = step(state, batch)
        jax.block_until_ready(state.params)

    once()  # Compiles.
    return once


if __name__ == "__main__":
    main()
