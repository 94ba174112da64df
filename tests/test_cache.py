import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import NUM_CLASSES, toy_data, toy_net

from fdcmkd_jax import cache
from fdcmkd_jax.data.pairing import PAIRINGS, View
from fdcmkd_jax.step import AXIS

SPLIT = toy_data(data_dir=None, seed=0).splits["train"]
ROWS = range(len(SPLIT))
MODEL = toy_net(NUM_CLASSES, axis_name=AXIS)


@pytest.fixture(scope="module")
def variables():
    example = jnp.asarray(SPLIT[0]["audio"])[None]
    return MODEL.init(jax.random.key(0), example, train=False)


def view(pairing="true"):
    return View(SPLIT, ("audio", "image"), pairing=pairing)


def taught(source, variables, batch_size=16):
    kept = {name: variables[name] for name in ("params", "batch_stats")}
    return cache.with_outputs(
        source, MODEL, kept, "audio", leave_out=["audio"], batch_size=batch_size
    )


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_outputs_are_the_teachers_on_what_it_would_have_seen(pairing, variables):
    source = view(pairing)
    found = taught(source, variables)
    assert len(found) == len(source) == 44  # The last of three batches is uneven.
    seen = jnp.asarray(
        [each.get("partner", each)["audio"] for each in map(source.__getitem__, ROWS)]
    )
    expected = MODEL.apply(variables, seen, train=False)
    for name in ("logits", "features"):
        actual = np.stack([found[row]["teacher"][name] for row in ROWS])
        np.testing.assert_allclose(actual, getattr(expected, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_what_the_teacher_would_read_is_left_out_and_the_rest_kept(pairing, variables):
    source = view(pairing)
    example, found = source[3], taught(source, variables)[3]
    assert set(found) == {*example, "teacher"} - {"audio", "partner"}
    for name in ("image", "label", "labelled", "id"):
        np.testing.assert_array_equal(found[name], example[name])
    assert set(found["teacher"]) == {"logits", "features"}


def test_a_pass_in_larger_batches_than_the_split_finds_the_same(variables):
    small, large = (taught(view(), variables, batch_size=size) for size in (7, 500))
    for row in (0, 43):
        for name, value in small[row]["teacher"].items():
            np.testing.assert_allclose(large[row]["teacher"][name], value, rtol=1e-4, atol=1e-5)


def test_outputs_over_the_limit_are_not_kept(variables, monkeypatch):
    source = view()
    size = 44 * 4 * (NUM_CLASSES + 8) / 2**20
    monkeypatch.setattr(cache, "LIMIT_MB", size)
    assert isinstance(taught(source, variables), cache.Taught)
    monkeypatch.setattr(cache, "LIMIT_MB", 0.99 * size)
    assert taught(source, variables) is source
