"""Tests of the curves of training logs."""

import numpy as np

from fdcmkd_jax.report import curves
from fdcmkd_jax.report.run import Model


def test_long_logs_are_averaged():
    count = 2 * curves.POINTS
    rows = [{"step": step, "terms": {"low": float(step % 2)}} for step in range(count)]
    steps, values = curves.series(rows, "terms", "low")
    np.testing.assert_allclose(steps, np.arange(curves.POINTS) * 2 + 0.5)
    np.testing.assert_allclose(values, 0.5)


def test_no_rows_give_an_empty_curve():
    assert [len(axis) for axis in curves.series([], "loss")] == [0, 0]


def model(**logged):
    """A student with one training row."""
    return Model("image", "audio", {}, [{"step": 1, **logged}], [], None)


def test_a_balance_needs_gradient_norms_of_two_terms():
    two = model(gradient_norms={"task": 1.0, "low": 1.0})
    assert curves.balanced([model(gradient_norms={"task": 1.0}), two]) == [two]


def test_weighted_terms_without_gradient_norms_are_listed_as_not_measured():
    terms = {"task": 1.0, "attention": 1.0, "unused": 1.0}
    weights = {"task": 1.0, "attention": 2.0, "unused": 0.0}
    logged = model(terms=terms, gradient_norms={"task": 1.0})
    assert curves.not_measured(logged, weights) == ["attention"]
    assert curves.not_measured(model(terms={"task": 1.0}), weights) == ["task"]
    assert curves.not_measured(model(), weights) == []
