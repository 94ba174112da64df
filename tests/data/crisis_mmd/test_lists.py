"""The lists of CrisisMMD."""

import itertools
from collections import Counter

import pytest
from crisis_files import AGREED, row, write_lists

from fdcmkd_jax.data.clips.check import Report
from fdcmkd_jax.data.crisis_mmd.lists import HUMANITARIAN, MERGED, Choice, read_lists
from fdcmkd_jax.registry import ConfigError

HUMAN = "not_humanitarian"
HURT, MISSING = "injured_or_dead_people", "missing_or_found_people"
VEHICLE, DAMAGED = "vehicle_damage", "infrastructure_and_utility_damage"
PEOPLE = "affected_individuals"


def full_lists(choice):
    """As many rows of each class as the real lists have."""
    numbers = itertools.count()
    return {
        split: [
            row(3 * next(numbers), name)
            for name, count in zip(choice.class_names, counts, strict=True)
            for _ in range(count)
        ]
        for split, counts in choice.counts.items()
    }


def test_full_agreed_lists_have_the_documented_6126_998_and_955_rows(tmp_path):
    choice = Choice()
    rows, defects = read_lists(write_lists(tmp_path, choice, full_lists(choice)), choice)
    assert defects == []
    assert Counter(each.split for each in rows) == {"train": 6126, "val": 998, "test": 955}
    assert choice.class_names == tuple(sorted(choice.class_names))
    assert list(Report(choice, rows, rows, []).differences()) == []
    fewer = Report(choice, rows[1:], rows[1:], [], "pictures")
    assert list(fewer.differences()) == [
        "train: 6,125 pictures listed, 6,126 documented",
        "train, affected_individuals: 70 pictures listed, 71 documented",
    ]


@pytest.mark.parametrize(
    ("choice", "totals"),
    [
        (Choice("informative"), (9601, 1573, 1534)),
        (Choice("informative", "all"), (13_608, 2237, 2237)),
        (Choice("humanitarian", "all", 8), (13_608, 2237, 2237)),
        (Choice("humanitarian", "agreed", 6), (6126, 998, 955)),
        (Choice("humanitarian", "agreed", 8), (6126, 998, 955)),
        (Choice("damage", "all"), (0, 0, 0)),
    ],
)
def test_documented_counts_of_the_other_choices(choice, totals):
    choice.check()
    assert tuple(map(sum, choice.counts.values())) == totals


def test_a_quote_that_nothing_closes_is_part_of_its_text(tmp_path):
    texts = ['"Pray for Iran', 'a "storm', '"quoted" and not', '"', "plain"]
    rows = [row(3 * number, HUMAN, text=text) for number, text in enumerate(texts)]
    read, defects = read_lists(write_lists(tmp_path, Choice(), {"train": rows}), Choice())
    assert [each.text for each in read] == texts
    assert defects == []


def test_ids_keep_all_their_digits_and_texts_their_scripts(tmp_path):
    text = "\u00a1ayuda! \u0938\u0939\u093e\u092f\u0924\u093e \U0001f525"
    rows = [row(0, HUMAN, tweet="917793137925459969", text=text)]
    (read,), _ = read_lists(write_lists(tmp_path, Choice(), {"test": rows}), Choice())
    assert (read.name, read.group) == ("917793137925459969_0", "917793137925459969")
    assert (read.text, read.split) == (text, "test")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (5, [PEOPLE, PEOPLE, DAMAGED, HUMAN]),
        (6, [PEOPLE, PEOPLE, VEHICLE, HUMAN]),
        (8, [HURT, MISSING, VEHICLE, HUMAN]),
    ],
)
def test_classes_are_merged_as_in_the_data_set(tmp_path, classes, expected):
    choice = Choice(classes=classes)
    rows = [
        row(0, HURT, text_label=PEOPLE, image_label=PEOPLE),
        row(3, MISSING, text_label=PEOPLE, image_label=PEOPLE),
        row(6, VEHICLE, text_label=DAMAGED, image_label=DAMAGED),
        row(9, HUMAN),
    ]
    read, defects = read_lists(write_lists(tmp_path, choice, {"train": rows}), choice)
    assert [choice.class_names[each.label] for each in read] == expected
    assert defects == []
    assert len(choice.class_names) == classes
    assert set(choice.class_names) == set(HUMANITARIAN) - set(MERGED[classes])


@pytest.mark.parametrize(
    ("target", "expected"), [("label", HURT), ("text", HURT), ("image", HUMAN)]
)
def test_all_lists_hold_a_label_of_each_modality(tmp_path, target, expected):
    choice = Choice("humanitarian", "all", 8, target)
    rows = [row(0, HURT, text_label=HURT, image_label=HUMAN, label_text_image="Negative")]
    (read,), defects = read_lists(write_lists(tmp_path, choice, {"val": rows}), choice)
    assert choice.class_names[read.label] == expected
    assert dict(read.labels) == {"label": HURT, "text": HURT, "image": HUMAN}
    assert defects == []


def test_a_tweet_with_several_pictures_is_read_once_a_picture(tmp_path):
    rows = [row(number, HUMAN, tweet="917793137925459968") for number in range(3)]
    read, defects = read_lists(write_lists(tmp_path, Choice(), {"train": rows}), Choice())
    assert [each.name[-2:] for each in read] == ["_0", "_1", "_2"]
    assert defects == []


def test_lists_of_damage_without_texts_take_those_of_the_tweets(tmp_path):
    choice = Choice("damage", "all")
    rows = [row(0, "severe_damage"), row(3, "mild_damage"), row(6, "little_or_no_damage")]
    four = [[fields[i] for i in (0, 2, 4, 5)] for fields in rows]
    write_lists(tmp_path, choice, {"train": four}, header="Event_name Image_id Image Label")
    known = [row(0, "informative", text="a bridge"), row(3, "informative", text="a road")]
    write_lists(tmp_path, Choice("informative", "all"), {"train": known})
    read, defects = read_lists(tmp_path, choice)
    assert [(each.text, each.label) for each in read] == [("a bridge", 2), ("a road", 1)]
    assert [(defect.kind, defect.name) for defect in defects] == [("no text", rows[2][2])]


@pytest.mark.parametrize(
    "place", ["CrisisMMD_v2.0", "CrisisMMD_v2.0/crisismmd_datasplit_agreed_label"]
)
def test_lists_may_be_unpacked_beside_or_inside_the_pictures_folder(tmp_path, place):
    write_lists(tmp_path / place, Choice(), {"train": [row(0, HUMAN)]})
    (tmp_path / "__MACOSX" / AGREED).mkdir(parents=True)
    (tmp_path / "__MACOSX" / AGREED / Choice().file_name("train")).write_text("\0")
    read, _ = read_lists(tmp_path, Choice())
    assert len(read) == 1


def test_a_missing_list_and_a_list_of_another_kind_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no task_humanitarian_text_img_agreed_lab_train"):
        read_lists(tmp_path, Choice())
    write_lists(tmp_path, Choice(), {}, header="Event_name Image_id Image Label")
    with pytest.raises(
        ConfigError, match=r"has the columns event_name, .*; expected image, image_id"
    ):
        read_lists(tmp_path, Choice())


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(task="fire"), "task must be 'humanitarian', 'informative' or 'damage', got 'fire'"),
        (Choice(lists="some"), "lists must be 'agreed' or 'all', got 'some'"),
        (Choice(classes=7), r"classes must be one of \[5, 6, 8\], got 7"),
        (Choice("damage"), "damage is labeled for pictures alone; use lists=all"),
        (Choice(classes=8, target="text"), "use target=label, got 'text'"),
    ],
)
def test_a_choice_that_the_files_do_not_hold_is_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        choice.check()
