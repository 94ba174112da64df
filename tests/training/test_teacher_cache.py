"""Outputs of a frozen teacher, computed once."""

import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_data, toy_net

from fdcmkd_jax.data.pairing import PAIRINGS, View
from fdcmkd_jax.training import teacher_cache
from fdcmkd_jax.training.devices import AXIS, Devices

SPLIT = toy_data(data_dir=None, seed=0).splits["train"]
ROWS = range(len(SPLIT))
MODEL = toy_net(NUM_CLASSES, axis_name=AXIS)


@pytest.fixture(scope="module")
def variables():
    example = jnp.asarray(SPLIT[0]["audio"])[None]
    return MODEL.init(jax.random.key(0), example, train=False)


def view(kind="true"):
    return View(SPLIT, kind=kind)


def with_outputs(source, variables, batch_size=16, spill_to=Path("unused")):
    rows = teacher_cache.cache_teacher_outputs(
        source,
        None,
        MODEL,
        {name: variables[name] for name in ("params", "batch_stats")},
        "audio",
        Devices(),
        batch_size=batch_size,
        spill_to=spill_to,
    )
    if rows is None:
        return None
    return teacher_cache.TaughtSource(source, {"audio": rows}, leave_out=["audio", "partner"])


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
        actual = np.stack([cached[row]["teacher"]["audio"][name] for row in ROWS])
        np.testing.assert_allclose(actual, getattr(expected, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", PAIRINGS)
def test_the_inputs_of_the_teacher_are_left_out_and_the_rest_kept(kind, variables):
    source = view(kind)
    example, cached = source[3], with_outputs(source, variables)[3]
    assert set(cached) == {*example, "teacher"} - {"audio", "partner"}
    for name in ("image", "label", "labelled", "id"):
        np.testing.assert_array_equal(cached[name], example[name])
    assert set(cached["teacher"]["audio"]) == {"logits", "features"}


def test_a_pass_in_larger_batches_than_the_split_gives_the_same_outputs(variables):
    small, large = (with_outputs(view(), variables, batch_size=size) for size in (8, 504))
    for row in (0, 43):
        for name, value in small[row]["teacher"]["audio"].items():
            np.testing.assert_allclose(
                large[row]["teacher"]["audio"][name], value, rtol=1e-4, atol=1e-5
            )


@pytest.fixture
def limits(monkeypatch):
    """Sets the limits, as shares of the size of all outputs."""
    size = 44 * 4 * (NUM_CLASSES + 8) / 2**20

    def change(memory, file):
        monkeypatch.setattr(teacher_cache, "LIMIT_MB", memory * size)
        monkeypatch.setattr(teacher_cache, "FILE_LIMIT_MB", file * size)

    return change


def test_outputs_over_the_limit_of_memory_go_to_a_file_with_the_same_bits(
    variables, tmp_path, limits
):
    file = tmp_path / "students" / "outputs.array_record"
    limits(memory=1, file=1)
    kept = with_outputs(view("shuffled"), variables, spill_to=file)
    assert not file.exists()
    limits(memory=0.99, file=1)
    spilled = with_outputs(view("shuffled"), variables, spill_to=file)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert len(spilled) == len(kept)
    for row in ROWS:
        jax.tree.map(np.testing.assert_array_equal, spilled[row], kept[row])


def test_a_complete_file_is_used_again_and_an_unfinished_one_is_not(variables, tmp_path, limits):
    limits(memory=0, file=1)
    file = tmp_path / "outputs.array_record"
    (tmp_path / f"unfinished_{file.name}").write_bytes(b"cut short")
    first = with_outputs(view(), variables, spill_to=file)
    other = jax.tree.map(np.zeros_like, variables)
    again = with_outputs(view(), other, spill_to=file)
    jax.tree.map(np.testing.assert_array_equal, again[7], first[7])
    assert np.abs(again[7]["teacher"]["audio"]["logits"]).sum() > 0


def test_a_spilled_file_can_be_read_by_worker_processes(variables, tmp_path, limits):
    limits(memory=0, file=1)
    spilled = with_outputs(view(), variables, spill_to=tmp_path / "outputs.array_record")
    copy = pickle.loads(pickle.dumps(spilled))
    jax.tree.map(np.testing.assert_array_equal, copy[5], spilled[5])


def test_outputs_over_the_limit_of_the_file_are_not_kept(variables, tmp_path, limits):
    limits(memory=0, file=0.99)
    assert with_outputs(view(), variables, spill_to=tmp_path / "outputs") is None
    assert list(tmp_path.iterdir()) == []
