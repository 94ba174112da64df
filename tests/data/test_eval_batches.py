"""Batches of an evaluation: order, padding, labels, processes."""

import numpy as np
from input_cases import IDS, SPLIT, evaluated, ids, use_process


def test_evaluation_reads_the_split_in_order_and_shows_every_label():
    batches = evaluated(SPLIT, 8)
    assert ids(batches) == IDS
    assert [len(batch["id"]) for batch in batches] == [8, 8, 8]
    for batch in batches:
        assert batch["labelled"][batch["mask"]].all()


def test_evaluation_pads_and_masks_its_last_batch():
    masks = [batch["mask"].tolist() for batch in evaluated(SPLIT, 8)]
    assert masks == [[True] * 8, [True] * 8, [True] * 6 + [False] * 2]


def test_evaluation_does_not_pad_what_divides_evenly():
    batches = evaluated(SPLIT, 11)
    assert [batch["mask"].all() for batch in batches] == [True, True]


def test_evaluation_shows_labels_that_were_hidden_in_training():
    hidden = [{**example, "labelled": np.False_} for example in SPLIT]
    assert all(b["labelled"][b["mask"]].all() for b in evaluated(hidden, 8))


def test_evaluating_processes_share_the_split_in_as_many_batches_each(monkeypatch):
    shares = []
    for index in range(2):
        with monkeypatch.context() as patch:
            use_process(patch, index)
            shares.append(evaluated(SPLIT, 8))
    assert [len(share) for share in shares] == [3, 3]
    assert all(len(batch["id"]) == 4 for share in shares for batch in share)
    assert sorted(ids(shares[0]) + ids(shares[1])) == IDS
