"""CRD: draws, banks, loss."""

import functools
import importlib

import golden_numbers as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_outputs import KEPT, K, close, model, targets, unit, wide

from fdcmkd_jax import losses, methods
from fdcmkd_jax.methods.crd import bank_rows, draw_negatives
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Targets


def split_of(labels, ids, labelled=None):
    """The targets of a whole training split."""
    size = len(labels)
    return Targets(
        labels=jnp.asarray(labels, jnp.int32),
        labelled=jnp.ones(size, bool) if labelled is None else jnp.asarray(labelled),
        mask=jnp.ones(size, bool),
        num_classes=K,
        label_loss=losses.cross_entropy,
        id=jnp.asarray(ids, jnp.int32),
    )


def start_crd(train_targets, **options):
    method = methods.make("crd", **options)
    params, memory = method.init(jax.random.key(0), model(0), model(1), K, train_targets)
    return method, params, memory


def test_crd_draws_negatives_evenly_from_the_other_classes():
    labels = np.array([2, 0, 1, 0, 2, 2, 1, 0])
    ids = np.array([70, 10, 30, 20, 60, 90, 80, 40])
    labelled = ids != 80  # This one is a negative of all others, and they are its negatives.
    train_targets = split_of(labels, ids, labelled)
    _, _, memory = start_crd(train_targets)
    rows = bank_rows(memory["positions"], train_targets)
    assert sorted(np.asarray(rows)) == list(range(8))
    drawn = draw_negatives(jax.random.key(5), memory["positions"], rows, 7000)
    by_row = np.argsort(rows)
    for example, negatives in enumerate(by_row[np.asarray(drawn)]):
        same = (labels == labels[example]) & labelled & labelled[example]
        allowed = np.flatnonzero(~same & (ids != ids[example]))
        counts = np.bincount(negatives, minlength=8)
        assert set(np.flatnonzero(counts)) == set(allowed)
        # 7000 draws of at most 7 rows: a fifth is more than five deviations.
        np.testing.assert_allclose(counts[allowed], 7000 / len(allowed), rtol=0.2)


def test_crd_draws_for_an_example_what_it_would_draw_elsewhere_in_the_batch():
    train_targets = split_of([0, 1, 2, 0, 1, 2], np.arange(6))
    _, _, memory = start_crd(train_targets)
    draw = functools.partial(draw_negatives, jax.random.key(5), memory["positions"])
    both, one = draw(jnp.array([4, 2]), 5), draw(jnp.array([2]), 5)
    np.testing.assert_array_equal(both[1], one[0])


def test_crd_moves_only_the_batchs_rows_and_keeps_the_first_normalizer():
    train_targets = split_of([0, 2, 1, 2, 0, 1], np.arange(6))
    method, params, memory = start_crd(train_targets, negatives=3, size=4, momentum=0.25)
    shown = targets().replace(id=jnp.arange(4, dtype=jnp.int32))
    terms = jax.jit(method.terms)
    _, first = terms(params, memory, model(0), model(1), shown)
    _, second = terms(params, first, model(2), model(3), shown)
    rows = np.asarray(bank_rows(memory["positions"], train_targets))
    for side, outputs in (("student", model(0)), ("teacher", model(1))):
        assert second[side]["normalizer"] == first[side]["normalizer"] > 0
        old, new = wide(memory[side]["bank"]), first[side]["bank"]
        moved = 0.25 * old[rows[:4]] + 0.75 * unit(wide(outputs.features) @ params[side]["kernel"])
        close(new[rows[KEPT]], unit(moved)[KEPT])
        rest = np.setdiff1d(np.arange(6), rows[KEPT])
        np.testing.assert_array_equal(new[rest], memory[side]["bank"][rest])


@pytest.mark.parametrize(
    ("labels", "ids", "message"),
    [
        ([0, 1, 2], [4, 5, 4], "ids that differ"),
        ([1, 1, 1], [4, 5, 6], "at least two classes"),
    ],
)
def test_crd_refuses_a_split_it_cannot_remember(labels, ids, message):
    with pytest.raises(ValueError, match=message):
        start_crd(split_of(labels, ids))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": 0}, "negatives and size must be positive, got 0 and 128"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_crd_refuses_a_value_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("crd", **options)


def test_crd_and_its_banks(monkeypatch):
    x = golden.inputs("crd")
    module = importlib.import_module("fdcmkd_jax.methods.crd")
    chosen = x["contrast_idx_pos_first"]
    monkeypatch.setattr(module, "draw_negatives", lambda *arguments: chosen[:, 1:])
    method = methods.make("crd", negatives=3, size=4)
    identity = {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}
    row = jnp.arange(6)
    memory = {
        "student": {"bank": x["memory_student"], "normalizer": jnp.zeros(())},
        "teacher": {"bank": x["memory_teacher"], "normalizer": jnp.zeros(())},
        "positions": {"ids": row, "rows": row, "first": row, "count": jnp.ones(6, int)},
        "rng": jax.random.key_data(jax.random.key(0)),
        "step": jnp.zeros((), jnp.int32),
    }
    params = {"student": identity, "teacher": identity}
    teacher = golden.outputs(features=x["teacher_embed_before_l2"])
    shown = golden.targets(2).replace(id=chosen[:, 0])

    def run(student):
        return method.terms(params, memory, golden.outputs(features=student), teacher, shown)

    student = x["student_embed_before_l2"]
    golden.check("crd", lambda s: run(s)[0]["contrast"], student)
    after = run(student)[1]
    for side, opposite in (("student", "teacher"), ("teacher", "student")):
        expected = golden.GOLDEN["crd"]["outputs"][f"memory_{side}_after"]
        np.testing.assert_allclose(after[side]["bank"], expected, atol=1e-6)
        # Z of the student's loss is kept beside the bank that it reads, the teacher's.
        expected = golden.GOLDEN["crd"]["parts"][f"Z_{side}"]
        np.testing.assert_allclose(after[opposite]["normalizer"], expected, rtol=1e-5)
