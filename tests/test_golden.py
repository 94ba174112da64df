"""Losses and gradients against numbers computed elsewhere, in float64 and by other code."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdcmkd_jax import losses, methods
from fdcmkd_jax.frequency import split_bands
from fdcmkd_jax.types import Outputs, Targets

GOLDEN = json.loads((Path(__file__).parent / "golden" / "methods.json").read_text())
NUM_CLASSES = 3


def given(entry):
    """An entry's inputs as arrays."""
    return {name: jnp.asarray(value) for name, value in GOLDEN[entry]["inputs"].items()}


def assert_golden(entry, loss, student):
    """Checks the batch mean of ``loss(student)``, shape [N], and its gradient."""
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.mean(loss(x))))(student)
    np.testing.assert_allclose(value, GOLDEN[entry]["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, GOLDEN[entry]["grad_student"], rtol=1e-4, atol=1e-6)


def outputs(*, features=None, logits=None):
    """A model's outputs of which only one part matters; the other is zeros of a fitting shape."""
    some = features if logits is None else logits
    return Outputs(
        logits=jnp.zeros((len(some), NUM_CLASSES)) if logits is None else logits,
        features=jnp.zeros((len(some), 4)) if features is None else features,
    )


def targets(size, labels=None):
    return Targets(
        labels=jnp.zeros(size, jnp.int32) if labels is None else labels,
        labelled=jnp.ones(size, bool),
        mask=jnp.ones(size, bool),
        num_classes=NUM_CLASSES,
        label_loss=losses.cross_entropy,
    )


def test_cross_entropy():
    x = given("ce")
    assert_golden("ce", lambda s: losses.cross_entropy(s, x["labels"]), x["student_logits"])


@pytest.mark.parametrize("entry", ["kd_T1", "kd_T4"])
def test_soft_divergence_and_the_logit_method(entry):
    x = given(entry)
    temperature = GOLDEN[entry]["hyperparameters"]["temperature"]
    method = methods.make("logit", temperature=temperature)

    def by_function(student):
        return losses.soft_divergence(student, x["teacher_logits"], temperature=temperature)

    def by_method(student):
        teacher = outputs(logits=x["teacher_logits"])
        return method.terms({}, outputs(logits=student), teacher, targets(2))["divergence"]

    assert_golden(entry, by_function, x["student_logits"])
    assert_golden(entry, by_method, x["student_logits"])


def test_mean_squared_error():
    x = given("feat_mse")
    loss = losses.mean_squared_error
    assert_golden("feat_mse", lambda s: loss(s, x["teacher_feat"]), x["student_feat"])


@pytest.mark.parametrize("entry", ["feat_mse", "feat_mse_linear_projector"])
def test_the_mse_method_with_and_without_a_linear_map(entry):
    x = given(entry)
    adapter = {"kernel": x["kernel_in_out"], "bias": x["bias"]} if "bias" in x else {}
    teacher = outputs(features=x["teacher_feat"])

    def loss(student):
        params = {"adapter": adapter}
        terms = methods.make("mse").terms(params, outputs(features=student), teacher, targets(2))
        return terms["feature"]

    assert_golden(entry, loss, x["student_feat"])


@pytest.mark.parametrize("band", ["low", "high"])
def test_frequency_distances_and_the_fd_cmkd_method(band):
    entry = f"fdcmkd_{band}"
    x = given(entry)
    method = methods.make("fd_cmkd", shared_heads=False, auxiliary_heads=False)

    def by_function(student):
        return losses.frequency_distances(student, x["teacher_feat"])[band]

    def by_method(student):
        teacher = outputs(features=x["teacher_feat"])
        return method.terms({"adapter": {}}, outputs(features=student), teacher, targets(2))[band]

    assert_golden(entry, by_function, x["student_feat"])
    assert_golden(entry, by_method, x["student_feat"])


@pytest.mark.parametrize("owner", ["student", "teacher"])
@pytest.mark.parametrize("band", ["low", "high"])
def test_bands(owner, band):
    actual = getattr(split_bands(given("fdcmkd_low")[f"{owner}_feat"]), band)
    expected = GOLDEN["fdcmkd_low"]["outputs"][f"{owner}_{band}"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_the_shared_heads_of_fd_cmkd():
    x = given("fdcmkd_align")
    heads = {
        band: {"kernel": x[f"{band}_kernel"], "bias": x[f"{band}_bias"]} for band in ("low", "high")
    }
    teacher = outputs(features=x["teacher_feat"])
    method = methods.fd_cmkd(auxiliary_heads=False)

    def loss(student):
        params = {"adapter": {}, "align": heads}
        known = targets(2, x["labels"])
        return method.terms(params, outputs(features=student), teacher, known)["align"]

    assert_golden("fdcmkd_align", loss, x["student_feat"])
