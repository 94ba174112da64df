"""Outputs of a frozen teacher, computed once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_data, toy_net

from fdcmkd_jax.data.pairing import PAIRINGS, View
from fdcmkd_jax.training import teacher_cache
from fdcmkd_jax.training.devices import AXIS

SPLIT = toy_data(data_dir=None, seed=0).splits["train"]
ROWS = range(len(SPLIT))
MODEL = toy_net(NUM_CLASSES, axis_name=AXIS)


@pytest.fixture(scope="module")
def variables():
    example = jnp.asarray(SPLIT[0]["audio"])[None]
    return MODEL.init(jax.random.key(0), example, train=False)


def view(kind="true"):
    return View(SPLIT, ("audio", "image"), kind=kind)


def with_outputs(source, variables, batch_size=16):
    kept = {name: variables[name] for name in ("params", "batch_stats")}
    return teacher_cache.cache_teacher_outputs(
        source, MODEL, kept, "audio", leave_out=["audio"], batch_size=batch_size
    )


@pytest.mark.parametrize("kind", PAIRINGS)
def test_outputs_are_the_teachers_on_the_inputs_it_would_read(kind, variables):
    source = view(kind)
    cached = with_outputs(source, variables)
    assert len(cached) == len(source) == 44  # The last of three batches is uneven.
    inputs = jnp.asarray(
        [example.get("partner", example)["audio"] for example in map(source.__getitem__, ROWS)]
    )
    expected = MODEL.apply(variables, inputs, train=False)
    for name in ("logits", "features"):
        actual = np.stack([cached[row]["teacher"][name] for row in ROWS])
        np.testing.assert_allclose(actual, getattr(expected, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", PAIRINGS)
def test_the_inputs_of_the_teacher_are_left_out_and_the_rest_kept(kind, variables):
    source = view(kind)
    example, cached = source[3], with_outputs(source, variables)[3]
    assert set(cached) == {*example, "teacher"} - {"audio", "partner"}
    for name in ("image", "label", "labelled", "id"):
        np.testing.assert_array_equal(cached[name], example[name])
    assert set(cached["teacher"]) == {"logits", "features"}


def test_a_pass_in_larger_batches_than_the_split_gives_the_same_outputs(variables):
    small, large = (with_outputs(view(), variables, batch_size=size) for size in (7, 500))
    for row in (0, 43):
        for name, value in small[row]["teacher"].items():
            np.testing.assert_allclose(large[row]["teacher"][name], value, rtol=1e-4, atol=1e-5)


def test_outputs_over_the_limit_are_not_kept(variables, monkeypatch):
    source = view()
    size = 44 * 4 * (NUM_CLASSES + 8) / 2**20
    monkeypatch.setattr(teacher_cache, "LIMIT_MB", size)
    assert isinstance(with_outputs(source, variables), teacher_cache.CachedTeacherSource)
    monkeypatch.setattr(teacher_cache, "LIMIT_MB", 0.99 * size)
    assert with_outputs(source, variables) is source
