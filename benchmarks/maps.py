"""Cost of FD-CMKD's frequency losses on maps, as a share of a DeepLabV3+ step.

    python benchmarks/maps.py

Prints processor seconds, of all threads, for a step of DeepLabV3+ on ResNet-18 (forward, backward,
loss of every pixel) and for both frequency losses on its decoder's maps (values and gradient), over
channels and over space. Processor seconds hardly depend on what else runs on the machine.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fdcmkd_jax import losses, models

BATCH, SIZE, CLASSES, WIDTH, REPEATS = 4, (96, 128), 6, 256, 3


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Measures the least processor time of a call, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        jax.block_until_ready(function(*arguments))
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Prints the table."""
    model = models.make(
        "deeplab_v3_plus", num_classes=CLASSES, backbone="resnet18", width=WIDTH, dropout=0.0
    )
    key = jax.random.key(0)
    x = jax.random.normal(key, (BATCH, *SIZE, 3))
    labels = jnp.zeros((BATCH, *SIZE), jnp.int32)
    variables = jax.jit(functools.partial(model.init, train=False))(key, x)

    @jax.jit
    def step(params: Any, x: Any) -> Any:
        def loss(params: Any) -> Any:
            outputs, _ = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(losses.cross_entropy(outputs.logits, labels)), outputs.features

        return jax.grad(loss, has_aux=True)(params)

    features = step(variables["params"], x)[1]
    teacher = jax.random.normal(key, features.shape)
    whole = seconds(step, variables["params"], x)
    print(f"step of DeepLabV3+ on ResNet-18, {BATCH} x {SIZE}: {whole:.3f} s")
    for name, axes in (("channels", (-1,)), ("space", (1, 2))):

        @jax.jit
        @jax.grad
        def distances(student: Any, axes: tuple[int, ...] = axes) -> Any:
            terms = losses.frequency_distances(student, teacher, axes=axes)
            return sum(jnp.sum(term) for term in terms.values())

        cost = seconds(distances, features)
        print(f"frequency losses over {name}: {cost:.3f} s, {cost / whole:.1%} of the step")


if __name__ == "__main__":
    main()
