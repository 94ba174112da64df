"""Tests of the shares of the loss terms."""

import numpy as np
import pytest
from run_builders import put_cells

from fdcmkd_jax.study import figures
from fdcmkd_jax.study.analysis import analyze
from fdcmkd_jax.study.shares import loss_shares


@pytest.fixture
def shares(toy, tmp_path):
    """A function that returns the shares by label, given the terms without gradient norms."""

    def compute(*unmeasured):
        accuracies = {"none": [80.0, 81.0], "fd_cmkd": [81.0, 82.0]}
        put_cells(tmp_path, accuracies, unmeasured=unmeasured)
        return loss_shares(analyze(toy, tmp_path), tmp_path)

    return compute


def test_values_are_weighted_and_gradient_norms_are_not(shares):
    by_label = shares()
    assert list(by_label) == ["FD-CMKD"]  # The baseline has a single term.
    steps, values, gradients = by_label["FD-CMKD"]
    np.testing.assert_allclose(steps, [10, 20])
    # Weighted values: 1 * 1, 10 * 0.1 and 20 * 0.1.
    assert {k: v[0] for k, v in values.items()} == pytest.approx(
        {"task": 0.25, "low": 0.25, "high": 0.5}
    )
    assert {k: v[1] for k, v in gradients.items()} == pytest.approx(
        {"task": 3 / 6, "low": 1 / 6, "high": 2 / 6}
    )


def test_gradient_shares_are_those_of_the_measured_terms(shares):
    arm = shares("high")["FD-CMKD"]
    assert {k: v[0] for k, v in arm.gradients.items()} == pytest.approx({"task": 0.75, "low": 0.25})
    assert arm.not_measured == ["high"]


def test_one_measured_term_has_no_gradient_share(shares):
    arm = shares("high", "low")["FD-CMKD"]
    assert arm.gradients == {}
    assert arm.not_measured == ["task", "low", "high"]


@pytest.mark.parametrize(
    ("unmeasured", "texts"),
    [
        ((), []),
        (("high",), ["gradient norms of the measured terms", "high\n(gradient not measured)"]),
        (("high", "low"), ["not measured"]),
    ],
)
def test_the_figure_says_what_is_not_measured(shares, unmeasured, texts):
    left, right = figures.balance(shares(*unmeasured)).axes
    drawn = [right.get_title(loc="left"), *(text.get_text() for text in right.texts)]
    drawn += [text.get_text() for text in right.get_legend().get_texts()]
    assert all(text in drawn for text in texts)
    assert ("not measured" in " ".join(drawn)) == bool(unmeasured)
    assert len(left.collections) == 3
