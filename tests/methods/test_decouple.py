"""Angle and length apart."""

import numpy as np
from toy_outputs import close, model, terms_of, unit, wide


def test_decouple_takes_the_cosine_and_the_lengths_apart():
    student, teacher = model(0), model(1)
    s, t = wide(student.features), wide(teacher.features)
    terms = terms_of("decouple", student, teacher)
    close(terms["angle"], 1 - np.sum(unit(s) * unit(t), axis=1))
    error = np.abs(np.linalg.norm(s, axis=1) - np.linalg.norm(t, axis=1))
    close(terms["length"], np.where(error < 1, error**2 / 2, error - 0.5))


def test_scaling_a_feature_changes_its_length_and_not_its_angle():
    student, teacher = model(0), model(1)
    longer = student.replace(features=3 * student.features)
    before, after = (terms_of("decouple", outputs, teacher) for outputs in (student, longer))
    close(after["angle"], before["angle"])
    assert np.all(after["length"] != before["length"])
