"""Speed of training `resnet_tiny` on this CPU with convolutions as matrix products.

    python benchmarks/convolution.py

The two variants alternate in one process; compare the ratio of their medians.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from timing import flags, in_turn

from fdcmkd_jax import losses, models

SHAPES = {"image": (28, 28, 1), "audio": (32, 13, 1)}


def main() -> None:
    """Prints a table of step times."""
    arguments = flags(__doc__)
    print("| input | XLA, ms | patches, ms | ratio |\n| --- | --- | --- | --- |")
    for name, shape in SHAPES.items():
        x = jax.random.normal(jax.random.key(0), (arguments.batch, *shape))
        steps = [training_step(x, patches) for patches in (False, True)]
        plain, patches = in_turn(steps, arguments.repeats)
        print(f"| {name} {x.shape} | {plain:.1f} | {patches:.1f} | {plain / patches:.2f} |")


def training_step(x: jax.Array, patches: bool) -> Callable[[], None]:
    """Makes a function that runs a compiled forward and backward pass over a batch."""
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
