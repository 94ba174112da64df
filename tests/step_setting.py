"""A student of images under a teacher of audio, on some devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from builders import NUM_CLASSES, toy_net

from fdcmkd_jax import methods, tasks
from fdcmkd_jax.data.input import assemble
from fdcmkd_jax.training import optim, state
from fdcmkd_jax.training.devices import AXIS, Devices, to_host
from fdcmkd_jax.training.step import make_train_step

TASK = tasks.make("classification", num_classes=NUM_CLASSES)


WEIGHTS = {"task": 1.0, "align": 1.0, "auxiliary": 1.0, "low": 10.0, "high": 10.0}


def batches(count, *, size=16, real=None, labelled=True, seed=0):
    """Batches of which the last holds only `real` examples, the rest padding."""
    random = np.random.default_rng(seed)
    for index in range(count):
        mask = np.ones(size, bool)
        if real is not None and index == count - 1:
            mask[real:] = False
        yield {
            "audio": random.normal(size=(size, 6, 4, 1)).astype(np.float32),
            "image": random.normal(size=(size, 8, 8, 2)).astype(np.float32),
            "label": random.integers(0, NUM_CLASSES, size).astype(np.int32),
            "labelled": np.full(size, labelled),
            "mask": mask,
            "id": np.arange(size, dtype=np.int32),
        }


def to_batch(examples, *, teacher=True, task=TASK):
    """The batch that the steps read, of stacked examples."""
    teacher_modalities = ("audio",) if teacher and "teacher" not in examples else ()
    return assemble(
        examples, task=task, modalities=("image",), teacher_modalities=teacher_modalities
    )


SAME_BITS = {"xla_cpu_use_fusion_emitters": True}
"""Options of the compiler with which steps that are equal but for their form round alike."""


class Setting:
    """A student of images under a teacher of audio, on some devices."""

    def __init__(
        self,
        devices,
        method="fd_cmkd",
        weights=WEIGHTS,
        teacher=True,
        max_traces=None,
        task=TASK,
        padded=True,
        options=None,
    ):
        self.options = options
        self.devices, self.has_teacher, self.task = devices, teacher, task
        self.method = method if isinstance(method, methods.Method) else methods.make(method)
        self.model = toy_net(NUM_CLASSES, axis_name=AXIS)
        first = next(batches(1))
        variables = self.model.init(jax.random.key(1), jnp.asarray(first["audio"]), train=False)
        self.teacher_variables = {name: variables[name] for name in ("params", "batch_stats")}
        outputs = state.abstract_outputs(self.model, variables, jnp.asarray(first["audio"]))
        optimizer = optim.make(num_epochs=20, steps_per_epoch=1, learning_rate=0.05)
        self.start = state.create(
            jax.random.key(0),
            self.model,
            jnp.asarray(first["image"]),
            self.method,
            outputs if teacher else None,
            optimizer.transformation,
            NUM_CLASSES,
            train_targets=to_batch(first).targets,
            teacher_variables=self.teacher_variables,
        )
        self.start = to_host(self.start)  # The first step reuses the buffers it is given.
        step = make_train_step(
            self.model,
            "image",
            self.method,
            task,
            weights,
            teacher=self.model if teacher else None,
            teacher_input="audio" if teacher else (),
            padded=padded,
        )
        if max_traces:
            step = chex.assert_max_traces(step, max_traces)
        self.step = devices.map(step, split_arguments=(False, False, True), donate=True)

    def train(self, stream):
        current = self.devices.replicate(self.start)
        teacher = self.devices.replicate(self.teacher_variables)
        step, rows = self.step, []
        for examples in stream:
            batch = self.devices.split(to_batch(examples, teacher=self.has_teacher, task=self.task))
            if self.options and step is self.step:
                step = step.lower(current, teacher, batch).compile(self.options)
            current, sums = step(current, teacher, batch)
            rows.append(to_host(sums))
        self.teacher_after = to_host(teacher)
        return to_host(current), rows


def on(count, parallel="pmap"):
    return Devices(parallel, jax.devices()[:count])


def assert_same_bits(first, second):
    chex.assert_trees_all_equal(arrays(first), arrays(second))


def arrays(current):
    return current.params, current.batch_stats, current.opt_state, current.rng, current.step
