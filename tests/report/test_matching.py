"""Tests of the matching of two models' examples."""

import numpy as np
import pytest

from fdcmkd_jax.report import matching
from fdcmkd_jax.report.run import Examples, Model


def examples(ids, width=4):
    ids = np.asarray(ids, np.int32)
    return Examples(np.tile(ids[:, None], width).astype(np.float32), ids % 3, ids)


def model(test, modality="audio"):
    return Model(modality=modality, teacher=None, entry={}, train=[], held_out=[], test=test)


def test_examples_are_paired_by_id():
    first, second = matching.matched(model(examples([4, 2, 7])), model(examples([7, 9, 4])))
    np.testing.assert_array_equal(first.id, [4, 7])
    np.testing.assert_array_equal(second.id, [4, 7])
    np.testing.assert_array_equal(first.features, second.features)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (None, "teacher image has no features in test.npz"),
        (examples([1], width=8), "teacher audio: 4, teacher image: 8"),
        (examples([2]), "share no example"),
    ],
)
def test_features_that_cannot_be_compared_are_refused_with_the_reason(second, message):
    with pytest.raises(matching.IncomparableError, match=message):
        matching.matched(model(examples([1])), model(second, "image"))
