"""Losses and gradients computed elsewhere, in float64 and by other code."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from builders import terms_fn

from fdcmkd_jax import losses
from fdcmkd_jax.types import Outputs, Targets

GOLDEN = json.loads((Path(__file__).parent / "golden" / "methods.json").read_text())
NUM_CLASSES = 3


def inputs(entry):
    """An entry's inputs as arrays."""
    return {name: jnp.asarray(value) for name, value in GOLDEN[entry]["inputs"].items()}


def check(entry, loss, student):
    """Checks the batch mean of ``loss(student)``, shape [N], and its gradient."""
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.mean(loss(x))))(student)
    np.testing.assert_allclose(value, GOLDEN[entry]["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, GOLDEN[entry]["grad_student"], rtol=1e-4, atol=1e-6)


def outputs(*, features=None, logits=None, maps=None):
    """A model's outputs of which only one part matters; others are zeros of a fitting shape."""
    maps = maps or {}
    some = next(x for x in (logits, features, *maps.values()) if x is not None)
    return Outputs(
        logits=jnp.zeros((len(some), NUM_CLASSES)) if logits is None else logits,
        features=jnp.zeros((len(some), 4)) if features is None else features,
        maps=maps,
    )


def targets(size, labels=None, num_classes=NUM_CLASSES):
    return Targets(
        labels=jnp.zeros(size, jnp.int32) if labels is None else labels,
        labelled=jnp.ones(size, bool),
        mask=jnp.ones(size, bool),
        num_classes=num_classes,
        label_loss=losses.cross_entropy,
    )


# The part of the outputs that a method reads: its name in the entries, and how to wrap it.
PARTS = {
    "logits": ("logits", lambda x: outputs(logits=x)),
    "features": ("feat", lambda x: outputs(features=x)),
    "map": ("map_nhwc", lambda x: outputs(maps={"stage1": x})),
}


def pair(entry, part):
    """The student's and the teacher's array of an entry, how to wrap them, and the targets."""
    arrays = inputs(entry)
    suffix, wrap = PARTS[part]
    student, teacher = arrays[f"student_{suffix}"], arrays[f"teacher_{suffix}"]
    return student, teacher, wrap, targets(len(student), arrays.get("labels"), student.shape[-1])


def check_method(entry, part, method, weights):
    """Checks the weighted sum of a method's terms, and its gradient."""
    student, teacher, wrap, shown = pair(entry, part)
    # Widths are equal and stages play no part: what trainables there are stay empty.
    params = {"adapter": {}} if part != "logits" else {}

    def loss(x):
        terms = terms_fn(method)(params, wrap(x), wrap(teacher), shown)
        return losses.combine(terms, weights)

    check(entry, loss, student)


def check_parts(entry, part, method, part_of, atol=0.0):
    """Checks the batch mean of each term against a part of the entry."""
    student, teacher, wrap, shown = pair(entry, part)
    terms = jax.jit(terms_fn(method))({}, wrap(student), wrap(teacher), shown)
    for term, name in part_of.items():
        expected = GOLDEN[entry]["parts"][name]
        np.testing.assert_allclose(jnp.mean(terms[term]), expected, rtol=1e-5, atol=atol)
