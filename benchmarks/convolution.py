"""How much faster `resnet_tiny` trains on this CPU with convolutions as matrix products.

    python benchmarks/convolution.py

Both forms run alternately in one process; the ratio of their medians is what counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fdcmkd_jax import losses, models

SHAPES = {"image": (28, 28, 1), "audio": (32, 13, 1)}


def main() -> None:
    """Prints a table of step times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="examples in a batch")
    parser.add_argument("--repeats", type=int, default=30, help="steps of each form")
    arguments = parser.parse_args()
    print("| input | XLA, ms | patches, ms | ratio |\n| --- | --- | --- | --- |")
    for name, shape in SHAPES.items():
        x = jax.random.normal(jax.random.key(0), (arguments.batch, *shape))
        steps = [training_step(x, patches) for patches in (False, True)]
        times: list[list[float]] = [[], []]
        for _ in range(arguments.repeats):
            for step, found in zip(steps, times, strict=True):
                began = time.perf_counter()
                step()
                found.append(1e3 * (time.perf_counter() - began))
        plain, patches = (statistics.median(found) for found in times)
        print(f"| {name} {x.shape} | {plain:.1f} | {patches:.1f} | {plain / patches:.2f} |")


def training_step(x: jax.Array, patches: bool) -> Callable[[], None]:
    """A compiled forward and backward pass over a batch, without arguments."""
    model = models.make("resnet_tiny", num_classes=10).clone(patches=patches)
    labels = jnp.zeros(len(x), jnp.int32)
    variables = model.init(jax.random.key(0), x[:1], train=False)

    @jax.jit
    def gradients(params: dict) -> dict:
        def loss(params: dict) -> jax.Array:
            outputs, _ = model.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                x,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.mean(losses.cross_entropy(outputs.logits, labels))

        return jax.grad(loss)(params)

    def run() -> None:
        jax.block_until_ready(gradients(variables["params"]))

    run()
    return run


if __name__ == "__main__":
    main()
