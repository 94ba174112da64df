"""FiGKD."""

import golden_numbers as golden
import jax.numpy as jnp
import numpy as np
import pytest
from toy_outputs import close, model, terms_of

from fdcmkd_jax import methods


def test_figkd_leaves_the_last_of_an_odd_number_of_classes_alone():
    student, teacher = model(0), model(1)
    changed = student.replace(logits=student.logits.at[:, -1].add(3))
    before, after = (
        terms_of("figkd", outputs, teacher)["detail"] for outputs in (student, changed)
    )
    np.testing.assert_array_equal(before, after)


def test_figkd_does_not_see_the_mean_of_a_pair():
    student, teacher = model(0), model(1)
    shift = jnp.asarray([[2.0, 2.0, -1.0, -1.0, 5.0]])
    moved = student.replace(logits=student.logits + shift)
    before, after = (terms_of("figkd", outputs, teacher)["detail"] for outputs in (student, moved))
    close(after, before)


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        ("figkd_haar_detail_UNCONFIRMED", "logits", {}, {"detail": 1.0}),
    ],
)
def test_figkd_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("figkd", **options), weights)
