"""Labels and ids beside the records."""

import numpy as np
import pytest

from fdcmkd_jax.data.index import Index, Indexed, in_memory, read_index
from fdcmkd_jax.data.pairing import PAIRINGS, View

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int32)
IDS = np.arange(108, 100, -1).astype(np.int32)
RECORDS = [{"label": label, "id": name} for label, name in zip(LABELS, IDS, strict=True)]


class Sealed:
    """A split with an index, which fails if an example is read."""

    index = Index.of(LABELS, IDS)

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, row):
        raise AssertionError(f"example {row} was read")


def assert_same(actual, expected):
    for column, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(column, other)
        assert column.dtype == other.dtype


def test_an_index_is_taken_from_the_split_or_else_read_from_its_examples():
    assert_same(read_index(Sealed()), Sealed.index)
    assert_same(read_index(RECORDS), Sealed.index)


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("kind", PAIRINGS)
def test_a_view_knows_labels_and_partners_without_reading_an_example(kind, drop):
    options = dict(kind=kind, labelled_per_class=1, drop_unlabelled=drop, seed=5)
    view, plain = View(Sealed(), **options), View(RECORDS, **options)
    assert len(view) == len(plain) == (3 if drop else 8)
    rows = [plain[row] for row in range(len(plain))]
    assert_same(
        view.index,
        Index(
            np.array([row["label"] for row in rows]),
            np.array([row["id"] for row in rows]),
            np.array([row["labelled"] for row in rows]),
            np.array([row.get("partner", row)["id"] for row in rows]),
        ),
    )
    assert_same(view.index, read_index(rows))


def test_some_rows_of_a_split_keep_their_place_in_the_index():
    part = Indexed(RECORDS, Sealed.index, np.array([5, 2]))
    assert [part[0], part[1]] == [RECORDS[5], RECORDS[2]]
    assert len(part) == 2
    np.testing.assert_array_equal(part.index.ids, IDS[[5, 2]])


def test_a_split_in_memory_keeps_its_records_and_its_index():
    reads = []

    class Counting(Indexed):
        def __getitem__(self, position):
            reads.append(position)
            return super().__getitem__(position)

    kept = in_memory(Counting(RECORDS, Sealed.index))
    assert [kept[row] for row in range(8)] * 2 == RECORDS * 2
    assert reads == list(range(8))
    assert_same(read_index(kept), Sealed.index)
    assert [in_memory(RECORDS)[row] for row in range(8)] == RECORDS
