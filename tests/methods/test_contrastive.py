"""Contrast of pairs in a batch."""

import numpy as np
import oracles
import pytest
from toy_outputs import KEPT, N, close, model, terms_of, unit, wide

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError

EYE = np.eye(N, dtype=bool)


def matches(rows, columns, temperature):
    """Log-probabilities over the rows that are no padding."""
    logits = unit(rows) @ unit(columns).T / temperature
    return oracles.log_softmax(logits[:, KEPT])


@pytest.mark.parametrize("kind", ["hard", "smoothed", "low_band"])
def test_contrastive_is_cross_entropy_with_the_partner_in_both_directions(kind):
    student, teacher = model(0), model(1)
    s, t = wide(student.features), wide(teacher.features)
    low = oracles.bands(t, oracles.HALF)[0]
    spread = {
        "hard": EYE[:, KEPT],
        "smoothed": np.full((N, 3), 1 / 3),
        "low_band": np.exp(matches(low, low, 0.5)),
    }[kind]
    wanted = 0.8 * EYE[:, KEPT] + 0.2 * spread
    expected = -np.sum(wanted * (matches(s, t, 0.5) + matches(t, s, 0.5)), axis=1) / 2
    terms = terms_of("contrastive", student, teacher, targets=kind, temperature=0.5, smoothing=0.2)
    close(terms["contrast"][KEPT], expected[KEPT])


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "soft"}, "targets must be one of hard, smoothed, low_band, got"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"smoothing": 1.0}, r"smoothing must lie in \[0, 1\), got 1.0"),
        ({"cutoff": 1.0}, r"cutoff must lie inside \(0, 1\), got 1.0"),
    ],
)
def test_contrastive_refuses_a_bad_value(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("contrastive", **options)
