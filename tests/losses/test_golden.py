"""Losses and bands against numbers computed elsewhere, in float64 and by other code."""

import golden_numbers as golden
import numpy as np
import pytest

from fdcmkd_jax import losses
from fdcmkd_jax.frequency import split_bands


def test_cross_entropy():
    x = golden.inputs("ce")
    golden.check("ce", lambda s: losses.cross_entropy(s, x["labels"]), x["student_logits"])


def test_soft_divergence_of_dense_logits():
    x = golden.inputs("kd_seg_T1")
    student, teacher = x["student_logits_nhwk"], x["teacher_logits_nhwk"]
    golden.check(
        "kd_seg_T1", lambda s: losses.soft_divergence(s, teacher, temperature=1.0), student
    )


def test_mean_squared_error():
    x = golden.inputs("feat_mse")
    loss = losses.mean_squared_error
    golden.check("feat_mse", lambda s: loss(s, x["teacher_feat"]), x["student_feat"])


@pytest.mark.parametrize("model", ["student", "teacher"])
@pytest.mark.parametrize("band", ["low", "high"])
def test_bands(model, band):
    actual = getattr(split_bands(golden.inputs("fdcmkd_low")[f"{model}_feat"]), band)
    expected = golden.GOLDEN["fdcmkd_low"]["outputs"][f"{model}_{band}"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
