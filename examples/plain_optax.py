"""FD-CMKD in an optax loop of your own, without the training harness.

    python examples/plain_optax.py

The teacher reads the left half of scikit-learn's digits, the student the right half.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from sklearn import datasets

from fdcmkd_jax import Outputs, combine, fd_cmkd, tasks

WEIGHTS = {"task": 1.0, "align": 1.0, "auxiliary": 1.0, "low": 10.0, "high": 10.0}


class Net(nn.Module):
    """Two hidden layers; the features are those before the last ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array) -> Outputs:
        """Returns features ``[N, 64]`` and logits ``[N, 10]``."""
        features = nn.Dense(64)(nn.relu(nn.Dense(128)(x)))
        return Outputs(logits=nn.Dense(10)(nn.relu(features)), features=features)


def fit(loss, params, num_steps: int = 200):  # type: ignore[no-untyped-def]
    """Minimizes a loss of parameters by Adam."""
    optimizer = optax.adam(1e-3)

    @jax.jit
    def step(params, state):  # type: ignore[no-untyped-def]
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(num_steps):
        params, state = step(params, state)
    return params


images, labels = datasets.load_digits(return_X_y=True)
views = jnp.asarray(images, jnp.float32).reshape(-1, 8, 2, 4) / 16
left, right = (views[:, :, half].reshape(-1, 32) for half in (0, 1))
targets = tasks.classification(num_classes=10).targets(jnp.asarray(labels[:1000], jnp.int32))
net: Any = Net()
method, keys = fd_cmkd(), jax.random.split(jax.random.key(0), 3)

teacher = fit(
    lambda p: targets.loss(net.apply(p, left[:1000]).logits).mean(), net.init(keys[0], left)
)
teacher_outputs = net.apply(teacher, left[:1000])
student = net.init(keys[1], right)
params, memory = method.init(keys[2], net.apply(student, right[:1000]), teacher_outputs, 10)


def student_loss(params: dict) -> jax.Array:
    """Computes the weighted sum of the task's loss and the method's terms."""
    outputs = net.apply(params["student"], right[:1000])
    terms, _ = method.terms(params["method"], memory, outputs, teacher_outputs, targets)
    return combine({"task": targets.loss(outputs.logits), **terms}, WEIGHTS).mean()


student = fit(student_loss, {"student": student, "method": params})["student"]
for name, variables, view in (("teacher", teacher, left), ("student", student, right)):
    accuracy = jnp.mean(net.apply(variables, view[1000:]).logits.argmax(-1) == labels[1000:])
    print(f"{name}: {100 * accuracy:.1f} % of the last 797 digits")
