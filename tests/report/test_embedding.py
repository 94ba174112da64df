"""Tests of the joint maps of two models' features."""

import numpy as np

from fdcmkd_jax.report import embedding
from fdcmkd_jax.report.run import Examples


def test_thinning_spreads_over_all_examples():
    np.testing.assert_array_equal(embedding.evenly(3, 500), [0, 1, 2])
    kept = embedding.evenly(1001, 500)
    assert len(kept) == 500
    assert kept[0] == 0
    assert set(np.diff(kept)) <= {2, 3}


def test_standardized_channels_have_mean_zero_and_deviation_one():
    x = embedding.standardize(np.array([[1.0, 5.0], [3.0, 5.0]]))
    np.testing.assert_allclose(x, [[-1, 0], [1, 0]])


def test_two_models_share_a_map():
    ids = np.arange(12, dtype=np.int32)
    split = Examples(np.tile(ids[:, None], 4).astype(np.float32), ids % 3, ids)
    result = embedding.embed(split, split)
    assert result.teacher.shape == result.student.shape == (12, 2)
    np.testing.assert_array_equal(result.labels, split.labels)
