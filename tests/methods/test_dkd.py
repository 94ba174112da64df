"""DKD."""

import golden_numbers as golden
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from toy_outputs import N, close, model, targets, terms_of

from fdcmkd_jax import methods


def test_dkd_of_two_classes_has_nothing_to_say_of_the_others():
    terms = terms_of("dkd", model(0, classes=2), model(1, classes=2), _two_classes())
    close(terms["other"], np.zeros(N))
    expected = oracles.soft_divergence(model(0, classes=2).logits, model(1, classes=2).logits, 4.0)
    close(terms["target"], expected)  # with two classes the target's term is all there is


def _two_classes():
    return targets(2).replace(labels=jnp.asarray([0, 1, 1, 0], jnp.int32))


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        ("dkd", "logits", {}, {"target": 1.0, "other": 8.0}),
        ("dkd_imagenet_setting", "logits", {"temperature": 1.0}, {"target": 1.0, "other": 0.5}),
    ],
)
def test_dkd_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("dkd", **options), weights)


def test_each_term_of_dkd_is_the_golden_one():
    method = methods.make("dkd")
    golden.check_parts("dkd", "logits", method, {"target": "tckd", "other": "nckd"})
