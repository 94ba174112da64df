"""The view of a training split: labels that are shown, and partners."""

import numpy as np
import pytest

from fdcmkd_jax.data.index import Index, Indexed
from fdcmkd_jax.data.pairing import PAIRINGS, View, first_of_class, partners

NUM_CLASSES = 4
PER_CLASS = 30
BROKEN = [kind for kind in PAIRINGS if kind != "true"]


def make_split(counts=(PER_CLASS,) * NUM_CLASSES):
    """Examples by class in turn, whose arrays tell which example they belong to."""
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(1).permutation(labels)
    ids = np.random.default_rng(2).permutation(len(labels)) + 500
    return [
        {
            "audio": np.full((2, 3), row, np.float32),
            "image": np.full(4, -row, np.float32),
            "label": np.int32(label),
            "id": np.int32(ids[row]),
        }
        for row, label in enumerate(labels)
    ]


SPLIT = make_split()
LABELS = np.array([example["label"] for example in SPLIT])
IDS = np.array([example["id"] for example in SPLIT])


def view(split=SPLIT, **options):
    return View(split, **options)


def rows(split_view):
    return [split_view[index] for index in range(len(split_view))]


def partner_rows(split_view):
    """The row of each example's partner, told by its audio."""
    return np.array([int(row["partner"]["audio"][0, 0]) for row in rows(split_view)])


def test_true_pairs_show_every_example_unchanged_and_labelled():
    split_view = view()
    assert len(split_view) == len(SPLIT)
    for row, example in zip(rows(split_view), SPLIT, strict=True):
        assert row["labelled"]
        assert all(row[key] is example[key] for key in example)
        assert "partner" not in row


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_pairs_leave_the_example_itself_alone(kind):
    for row, example in zip(rows(view(kind=kind)), SPLIT, strict=True):
        assert all(row[key] is example[key] for key in example)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_partner_is_one_whole_example(kind):
    for row in rows(view(kind=kind)):
        place = int(row["partner"]["audio"][0, 0])
        assert row["partner"]["id"] == IDS[place]
        assert set(row["partner"]) == {"audio", "image", "label", "id"}
        np.testing.assert_array_equal(row["partner"]["audio"][0, 0], -row["partner"]["image"][0])


@pytest.mark.parametrize("kind", BROKEN)
def test_every_example_is_a_partner_once_where_classes_are_equal_in_size(kind):
    assert sorted(partner_rows(view(kind=kind))) == list(range(len(SPLIT)))


def test_shuffled_partners_are_of_the_same_class_but_seldom_the_same_example():
    chosen = partner_rows(view(kind="shuffled"))
    np.testing.assert_array_equal(LABELS[chosen], LABELS)
    assert np.mean(chosen == np.arange(len(SPLIT))) < 0.2  # 1 / 30 is expected.


def test_mismatched_partners_agree_in_class_only_by_chance():
    chosen = np.concatenate([partners(LABELS, "mismatched", seed) for seed in range(40)])
    agree = np.mean(LABELS[chosen] == np.tile(LABELS, 40))
    assert abs(agree - 1 / NUM_CLASSES) < 0.03  # Five standard deviations.


def test_relabelled_partners_map_each_class_to_one_other_class():
    for seed in range(20):
        chosen = LABELS[partners(LABELS, "relabelled", seed)]
        teacher_classes = [set(chosen[label == LABELS]) for label in range(NUM_CLASSES)]
        assert all(len(classes) == 1 for classes in teacher_classes)
        assert all(classes != {label} for label, classes in enumerate(teacher_classes))
        assert set.union(*teacher_classes) == set(range(NUM_CLASSES))


def test_relabelled_pairs_differ_between_seeds_in_the_classes_too():
    maps = {tuple(LABELS[partners(LABELS, "relabelled", seed)]) for seed in range(20)}
    assert len(maps) > 1


def test_relabelled_works_with_any_class_numbers():
    labels = np.array([7, 3, 7, 3, 90, 90])
    chosen = labels[partners(labels, "relabelled", 0)]
    assert not np.any(chosen == labels)
    assert set(chosen) == {3, 7, 90}


def test_a_smaller_class_serves_each_example_before_one_serves_twice():
    labels = np.repeat([0, 1], [10, 4])
    chosen = partners(labels, "relabelled", 0)
    times = np.bincount(chosen[labels == 0], minlength=14)[10:]
    assert sorted(times) == [2, 2, 3, 3]
    assert len(set(chosen[labels == 1])) == 4


@pytest.mark.parametrize("kind", BROKEN)
def test_partners_depend_on_the_seed_alone(kind):
    one, again, other = (partners(LABELS, kind, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(partner_rows(view(kind=kind, seed=5)), one)


def test_partners_stay_the_same_however_often_they_are_read():
    split_view = view(kind="mismatched")
    np.testing.assert_array_equal(partner_rows(split_view), partner_rows(split_view))


def test_first_of_class_are_the_smallest_ids_of_each_class():
    chosen = first_of_class(LABELS, IDS, 7)
    for label in range(NUM_CLASSES):
        members = label == LABELS
        assert sorted(IDS[members & chosen]) == sorted(IDS[members])[:7]


def test_first_of_class_does_not_depend_on_the_order_of_the_examples():
    order = np.random.default_rng(3).permutation(len(LABELS))
    np.testing.assert_array_equal(
        first_of_class(LABELS[order], IDS[order], 7), first_of_class(LABELS, IDS, 7)[order]
    )


def test_labels_are_hidden_beyond_the_first_of_a_class_and_no_example_is_lost():
    split_view = rows(view(labelled_per_class=7))
    assert len(split_view) == len(SPLIT)
    np.testing.assert_array_equal(
        [row["labelled"] for row in split_view], first_of_class(LABELS, IDS, 7)
    )


def test_fewer_labels_are_always_among_more_labels():
    few, more = first_of_class(LABELS, IDS, 3), first_of_class(LABELS, IDS, 20)
    assert few.sum() == 3 * NUM_CLASSES
    assert np.all(more[few])


def test_dropping_leaves_exactly_the_labelled_examples():
    split_view = rows(view(labelled_per_class=7, drop_unlabelled=True))
    assert all(row["labelled"] for row in split_view)
    assert sorted(row["id"] for row in split_view) == sorted(IDS[first_of_class(LABELS, IDS, 7)])


def test_dropping_examples_leaves_the_others_with_the_partners_they_had():
    whole = view(kind="mismatched", labelled_per_class=7)
    by_id = {int(row["id"]): row for row in rows(whole)}
    for row in rows(view(kind="mismatched", labelled_per_class=7, drop_unlabelled=True)):
        np.testing.assert_array_equal(
            row["partner"]["audio"], by_id[int(row["id"])]["partner"]["audio"]
        )


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mixed"}, r"kind must be one of \['true', .*\], got 'mixed'"),
        ({"labelled_per_class": -1}, "labelled_per_class must not be negative, got -1"),
        ({"labelled_per_class": 31}, "labelled_per_class is 31, but class 0 has 30 examples"),
        ({"drop_unlabelled": True}, "drop_unlabelled needs labelled_per_class"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        view(**options)


def test_relabelling_a_single_class_is_refused():
    with pytest.raises(ValueError, match="relabelled pairs need at least two classes"):
        view(make_split((5,)), kind="relabelled")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"kind": "shuffled"}, "kind 'shuffled'"),
        ({"kind": "relabelled"}, "kind 'relabelled'"),
        ({"labelled_per_class": 3}, "labelled_per_class"),
    ],
)
def test_pixels_with_labels_of_their_own_leave_pairs_true_or_mismatched(options, name):
    split = [{**example, "label": np.zeros((4, 5), np.int32)} for example in SPLIT[:6]]
    indexed = Indexed(split, Index.of_pixels(IDS[:6]))
    for source in (split, indexed):
        with pytest.raises(ValueError, match=f"{name} needs one label per example"):
            view(source, **options)
        partner_ids = [row["partner"]["id"] for row in rows(view(source, kind="mismatched"))]
        assert sorted(partner_ids) == sorted(IDS[:6])
