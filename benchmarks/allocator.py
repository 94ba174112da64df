"""Speed of training `resnet_tiny` on a CPU when the allocator keeps the memory a step frees.

    python benchmarks/allocator.py

Each setting is timed in separate processes, in turn; compare the ratio of their medians.
"""

import multiprocessing
import statistics

import jax
from convolution import SHAPES, training_step
from timing import flags, in_turn

from fdcmkd_jax.training import allocator

ROUNDS = 3


def main() -> None:
    """Prints a table of step times."""
    arguments = flags(__doc__)
    spawn = multiprocessing.get_context("spawn")
    print("| input | default, ms | kept, ms | ratio |\n| --- | --- | --- | --- |")
    for name, shape in SHAPES.items():
        times_by_setting: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for keep, times in times_by_setting.items():
                with spawn.Pool(1) as pool:
                    task = (shape, arguments.batch, arguments.repeats, keep)
                    times.append(pool.apply(step_time, task))
        default, kept = (statistics.median(times) for times in times_by_setting.values())
        print(f"| {name} {shape} | {default:.1f} | {kept:.1f} | {default / kept:.2f} |")


def step_time(shape: tuple[int, ...], size: int, repeats: int, keep: bool) -> float:
    """Returns the median milliseconds of a forward and backward pass in this process."""
    if keep:
        allocator.keep_freed_memory()
    x = jax.random.normal(jax.random.key(0), (size, *shape))
    return in_turn([training_step(x, patches=True)], repeats)[0]


if __name__ == "__main__":
    main()
