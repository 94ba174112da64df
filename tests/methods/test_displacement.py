"""Differences of pairs."""

import jax.numpy as jnp
import numpy as np
import oracles
from toy_outputs import KEPT, D, close, model, random, terms_of, wide


def test_displacement_compares_the_differences_of_all_pairs():
    student, teacher = model(0), model(1)
    s, t = wide(student.features), wide(teacher.features)
    expected = [
        np.mean(
            [
                oracles.soft_divergence((s[j] - s[i])[None], (t[j] - t[i])[None], 2.0)[0]
                for j in KEPT
                if j != i
            ]
        )
        for i in KEPT
    ]
    terms = terms_of("displacement", student, teacher, temperature=2.0)
    close(terms["displacement"][KEPT], expected)


def test_displacement_does_not_see_a_common_shift_of_the_student():
    student, teacher = model(0), model(1)
    moved = student.replace(features=student.features + jnp.asarray(random(9, 1, D), jnp.float32))
    before, after = (terms_of("displacement", outputs, teacher) for outputs in (student, moved))
    close(after["displacement"], before["displacement"], rtol=1e-4)
