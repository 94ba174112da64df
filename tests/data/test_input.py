"""Training batches from a split: order, remainders, augmentation, position, processes."""

import json
import time
from contextlib import closing

import grain
import jax
import numpy as np
import pytest
import raw_data
from input_cases import (
    AUGMENT,
    IDS,
    PLAIN,
    RAW,
    SIZE,
    SPLIT,
    as_stacked,
    assert_same,
    evaluated,
    ids,
    make_split,
    stream,
    take,
    use_process,
)

from fdcmkd_jax.data import stream as streams
from fdcmkd_jax.data.host import HostStage
from fdcmkd_jax.data.input import InputOptions, steps_per_epoch
from fdcmkd_jax.registry import ConfigError


@pytest.mark.parametrize("augment", [{}, AUGMENT], ids=["plain", "augmented"])
def test_batches_depend_on_the_seed_alone(augment):
    one, again = (take(stream(seed=3, augment=augment), 12) for _ in range(2))
    assert_same(one, again)
    assert ids(take(stream(seed=4, augment=augment), 5)) != ids(one[:5])


def test_number_of_threads_changes_nothing():
    one, other = (take(stream(augment=AUGMENT, num_threads=n), 12) for n in (1, 3))
    assert_same(one, other)
    assert_same(evaluated(SPLIT, 4), evaluated(SPLIT, 4, num_threads=3))


def test_every_epoch_has_an_order_of_its_own():
    batches = take(stream(), 15)
    epochs = [tuple(ids(batches[start : start + 5])) for start in (0, 5, 10)]
    assert len({*epochs, tuple(IDS[:20])}) == 4


@pytest.mark.parametrize(("size", "seed"), [(10, 0), (10, 1), (SIZE, 0)])
def test_the_order_of_a_large_split_is_grains_own_shuffle(monkeypatch, size, seed):
    monkeypatch.setattr(streams, "LOOKED_UP", size)
    options = InputOptions(batch_size=1)
    batches = streams.train_batches(make_split(size), options, as_stacked, PLAIN, seed=seed)
    expected = grain.MapDataset.source(IDS[:size]).seed(seed).shuffle()
    assert ids(take(batches, 3 * size)) == [expected[place] for place in range(3 * size)]


def test_no_example_comes_twice_in_an_epoch_and_other_ones_are_left_out_each_time():
    batches = take(stream(), 100)
    left_out = set()
    for start in range(0, 100, 5):
        epoch_ids = ids(batches[start : start + 5])
        assert len(set(epoch_ids)) == len(epoch_ids) == 20
        left_out.add(frozenset(IDS) - frozenset(epoch_ids))
    assert len(left_out) > 10


def test_dropped_remainders_leave_only_whole_batches():
    batches = take(stream(), 10)
    assert all(batch["mask"].all() and len(batch["id"]) == 4 for batch in batches)


def test_kept_remainders_show_every_example_once_an_epoch():
    batches = take(stream(drop_remainder=False), 12)
    for start in (0, 6):
        assert sorted(ids(batches[start : start + 6])) == IDS


def test_padding_stands_at_an_epochs_end_is_masked_and_holds_zeros():
    batches = take(stream(drop_remainder=False), 12)
    for number, batch in enumerate(batches):
        last = number % 6 == 5
        assert batch["mask"].tolist() == ([True, True, False, False] if last else [True] * 4)
        padding = {name: rows[~batch["mask"]] for name, rows in batch.items()}
        assert not any(rows.any() for rows in padding.values())


def test_a_split_that_divides_evenly_is_not_padded():
    batches = take(stream(source=SPLIT[:20], drop_remainder=False), 10)
    assert all(batch["mask"].all() for batch in batches)
    assert sorted(ids(batches[:5])) == IDS[:20]


@pytest.mark.parametrize(
    ("batch_size", "drop_remainder", "expected"),
    [(4, True, 5), (4, False, 6), (11, True, 2), (11, False, 2), (22, True, 1), (64, False, 1)],
)
def test_steps_per_epoch_count_the_batches_of_an_epoch(batch_size, drop_remainder, expected):
    options = InputOptions(batch_size, drop_remainder=drop_remainder)
    assert steps_per_epoch(SPLIT, options) == expected


def test_a_split_smaller_than_a_padded_batch_fills_one():
    batch = next(stream(batch_size=32, drop_remainder=False))
    assert sorted(ids([batch])) == IDS
    assert len(batch["mask"]) == 32


def test_rows_hold_their_examples_unchanged():
    by_id = {int(example["id"]): example for example in SPLIT}
    for batch in take(stream(), 5):
        for row, name in enumerate(batch["id"]):
            for key, value in by_id[int(name)].items():
                np.testing.assert_array_equal(batch[key][row], value)
                assert batch[key].dtype == value.dtype


def test_augmentation_changes_its_modality_alone_and_not_the_order():
    plain = take(stream(), 5)
    changed = take(stream(augment={"image": AUGMENT["image"]}), 5)
    for one, other in zip(plain, changed, strict=True):
        assert not np.array_equal(one["image"], other["image"])
        assert_same(
            [{key: one[key] for key in one if key != "image"}],
            [{key: other[key] for key in other if key != "image"}],
        )


def test_an_example_is_augmented_anew_in_each_epoch():
    batches = take(stream(augment=AUGMENT), 30)
    images = [
        image.tobytes()
        for batch in batches
        for image, name in zip(batch["image"], batch["id"], strict=True)
        if name == IDS[0]
    ]
    assert len(images) > 3
    assert len(set(images)) > 1


def test_augmentation_leaves_the_split_itself_alone():
    split = make_split()
    take(stream(source=split, augment=AUGMENT), 10)
    assert_same(split, SPLIT)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("augment", [{}, AUGMENT], ids=["plain", "augmented"])
def test_restored_position_continues_as_if_never_interrupted(augment, num_threads):
    def fresh():
        return stream(augment=augment, num_threads=num_threads, drop_remainder=False)

    expected = take(fresh(), 14)
    reader = fresh()
    for read in range(9):  # Across the end of the first epoch, after six batches.
        state = json.loads(json.dumps(reader.get_state()))
        restored = fresh()
        restored.set_state(state)
        assert_same(take(restored, 5), expected[read : read + 5])
        next(reader)


def test_worker_processes_change_nothing_and_continue_any_position():
    stage = HostStage(raw_data.transform, ("image",), ("audio",))

    def fresh(**more):
        read = InputOptions(batch_size=8, drop_remainder=False, **more)
        return streams.train_batches(RAW, read, as_stacked, stage, seed=1)

    expected = take(fresh(), 12)
    with closing(fresh(num_workers=2, num_threads=2, prefetch_batches=4)) as reader:
        assert_same(take(reader, 7), expected[:7])  # Beyond the first epoch, of six batches.
        position = json.loads(json.dumps(reader.get_state()))
        assert position == {"next_index": 7}
        reader.set_state({"next_index": 3})
        assert_same(take(reader, 2), expected[3:5])
    alone = fresh()
    alone.set_state(position)
    assert_same(take(alone, 5), expected[7:])


def test_workers_read_the_share_of_the_process_that_started_them(monkeypatch):
    def fresh(**more):
        read = InputOptions(batch_size=8, **more)
        stage = HostStage(raw_data.transform, ("image",), ("audio",))
        return streams.train_batches(RAW, read, as_stacked, stage, seed=1)

    use_process(monkeypatch, 1)
    alone = take(fresh(), 6)
    with closing(fresh(num_workers=1)) as reader:
        assert_same(take(reader, 6), alone)
    assert all(len(batch["id"]) == 4 for batch in alone)


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (8, 8)])
def test_as_many_batches_are_read_at_once_as_there_are_threads(threads, expected):
    reading, most = [], []

    class Slow(list):
        def __getitem__(self, row):
            reading.append(row)
            most.append(len(reading))
            time.sleep(0.005)
            reading.pop()
            return super().__getitem__(row)

    with closing(stream(source=Slow(SPLIT), num_threads=threads, prefetch_batches=8)) as reader:
        take(reader, 10)
    assert max(most) == expected


def test_position_depends_on_the_number_of_batches_read_alone():
    one, other = stream(), stream(seed=9, num_threads=3, augment=AUGMENT)
    take(one, 7), take(other, 7)
    assert one.get_state() == other.get_state()


@pytest.mark.parametrize("augment", [{}, AUGMENT], ids=["plain", "augmented"])
@pytest.mark.parametrize("drop_remainder", [True, False])
def test_processes_share_each_batch_of_one_process(monkeypatch, drop_remainder, augment):
    options = dict(drop_remainder=drop_remainder, augment=augment)
    whole = take(stream(**options), 12)
    shares = []
    for index in range(2):
        with monkeypatch.context() as patch:
            use_process(patch, index)
            shares.append(take(stream(**options), 12))
    for batch, *parts in zip(whole, *shares, strict=True):
        assert all(len(part["id"]) == 2 for part in parts)
        assert not set(ids(parts[:1])) & set(ids(parts[1:]))
        joined = jax.tree.map(
            lambda a, b: np.stack([a, b], axis=1).reshape(4, *a.shape[1:]), *parts
        )
        assert_same([joined], [batch])


def test_a_batch_larger_than_the_split_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="batch_size is 23, but there are only 22 training"):
        steps_per_epoch(SPLIT, InputOptions(23))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be positive, got 0"),
        ({"batch_size": 4, "num_threads": 0}, "num_threads must be positive, got 0"),
        ({"batch_size": 4, "prefetch_batches": 0}, "prefetch_batches must be positive, got 0"),
        (
            {"batch_size": 4, "num_threads": 3, "prefetch_batches": 2},
            r"\(2\) must be at least num_",
        ),
        ({"batch_size": 4, "num_workers": -1}, "num_workers must not be negative, got -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_number_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        InputOptions(**options)


def test_an_unknown_augmentation_is_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match="unknown augmentation 'flip'"):
        stream(augment={"image": {"name": "flip"}})
