"""RKD."""

import golden_numbers as golden
import jax.numpy as jnp
import numpy as np
import pytest
from toy_outputs import KEPT, D, close, model, random, terms_of, wide

from fdcmkd_jax import methods


def rotation():
    return np.linalg.qr(random(5, D, D))[0]


def test_rkd_does_not_see_where_the_batch_lies_how_large_it_is_or_which_way_it_is_turned():
    student, teacher = model(0), model(1)
    turned = jnp.asarray(3 * wide(student.features) @ rotation() + 1, jnp.float32)
    before, after = (
        terms_of("rkd", outputs, teacher) for outputs in (student, student.replace(features=turned))
    )
    for term in ("distance", "angle"):
        close(after[term][KEPT], before[term][KEPT], rtol=1e-3)


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        ("rkd", "features", {}, {"distance": 25.0, "angle": 50.0}),
    ],
)
def test_rkd_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("rkd", **options), weights)


def test_each_term_of_rkd_is_the_golden_one():
    method = methods.make("rkd")
    golden.check_parts("rkd", "features", method, {"distance": "distance", "angle": "angle"})
