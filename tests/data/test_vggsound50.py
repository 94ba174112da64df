"""VGGSound-50: its lists, the check of its files, and a run from the command line."""

import csv
import io
import json

import numpy as np
import pytest
from clip_files import (
    POINTER,
    cut,
    found,
    make_clips,
    only_pictures,
    only_sound,
    read_all,
    run_data,
    silent,
    train_reduced,
)

from fdcmkd_jax import data
from fdcmkd_jax.data.vggsound50 import CLASS_NAMES, TRAIN_COUNTS, VGGSOUND50
from fdcmkd_jax.registry import ConfigError

LOADS = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
METRO = '--vpnMyh30c,83,"subway, metro, underground",train'
FIRST = "--0PQM4-hqg,30,waterfall burbling,train"
TESTED = "a_0PQM4-hqg,5,thunder,test"


def write(folder, newline="\n", first="", **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (folder / f"{name}.csv").write_bytes((first + newline.join([*rows, ""])).encode())
    return folder


def lay_out(folder, train, test=(TESTED,), **options):
    return write(folder, train_tiny=train, test_tiny=test, **options)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("first", ["", "\ufeff"])
@pytest.mark.parametrize("columns", [4, 2])
def test_a_row_of_either_format_names_the_clip_and_its_class(tmp_path, newline, first, columns):
    train, test = [FIRST, METRO], [TESTED]
    if columns == 2:
        train = [
            "--0PQM4-hqg_000030.mp4,waterfall burbling",
            '--vpnMyh30c_000083.mp4,"subway, metro, underground"',
        ]
        test = ["a_0PQM4-hqg_000005.mp4,thunder"]
    clips, defects = read_all(
        VGGSOUND50, lay_out(tmp_path, train, test, newline=newline, first=first)
    )
    assert defects == {}
    assert list(clips) == ["--0PQM4-hqg_000030", "--vpnMyh30c_000083", "a_0PQM4-hqg_000005"]
    assert [clip.label for clip in clips.values()] == [0, 6, 34]
    assert [clip.split for clip in clips.values()] == ["train", "train", "test"]
    metro = clips["--vpnMyh30c_000083"]
    assert metro.group == "--vpnMyh30c"
    assert metro.sound == metro.video == "video/--vpnMyh30c_000083.mp4"


def test_the_full_list_gives_the_rows_of_the_50_classes(tmp_path):
    rows = [
        FIRST,
        "bbbbbbbbbbb,7,airplane,train",
        METRO,
        TESTED,
        "ccccccccccc,8,airplane flyby,test",
    ]
    clips, defects = read_all(VGGSOUND50, write(tmp_path, vggsound=rows))
    assert defects == {}
    assert [(clip.label, clip.split) for clip in clips.values()] == [
        (0, "train"),
        (6, "train"),
        (34, "test"),
    ]
    _, defects = read_all(VGGSOUND50, write(tmp_path, vggsound=[FIRST, f"{FIRST[:-5]}valid"]))
    assert defects == {"vggsound.csv:2": "malformed row"}


def test_the_tiny_lists_are_preferred_to_the_full_one(tmp_path):
    write(lay_out(tmp_path, [FIRST]), vggsound=[METRO])
    assert list(read_all(VGGSOUND50, tmp_path)[0]) == ["--0PQM4-hqg_000030", "a_0PQM4-hqg_000005"]


@pytest.mark.parametrize("place", ["video", "train-videos", "test-videos", "."])
def test_a_clip_is_found_in_each_of_the_known_folders(tmp_path, place):
    folder = lay_out(tmp_path, [FIRST])
    (folder / place).mkdir(exist_ok=True)
    (folder / place / "--0PQM4-hqg_000030.mp4").write_bytes(b"x")
    clip = read_all(VGGSOUND50, folder)[0]["--0PQM4-hqg_000030"]
    assert clip.sound == f"{place}/--0PQM4-hqg_000030.mp4"


@pytest.mark.parametrize(
    ("row", "kind", "name"),
    [
        ("--0PQM4-hqg,30,waterfall burbling", "malformed row", "train_tiny.csv:2"),
        ("--0PQM4-hqg,x,waterfall burbling,train", "malformed row", "train_tiny.csv:2"),
        ("--0PQM4,30,waterfall burbling,train", "malformed row", "train_tiny.csv:2"),
        ("../../../x.,30,waterfall burbling,train", "malformed row", "train_tiny.csv:2"),
        ("--0PQM4-hqg.mp4,waterfall burbling", "malformed row", "train_tiny.csv:2"),
        ("--vpnMyh30c,83,subway, metro, underground,train", "malformed row", "train_tiny.csv:2"),
        ("bbbbbbbbbbb,7,airplane,train", "unknown label", "bbbbbbbbbbb_000007.mp4"),
        (FIRST, "duplicate id", "--0PQM4-hqg_000030"),
        (TESTED, "id in two splits", "a_0PQM4-hqg_000005"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, row, kind, name):
    _, defects = read_all(VGGSOUND50, lay_out(tmp_path, [FIRST, row]))
    assert defects == {name: kind}


def full_rows():
    """Rows by split with the documented numbers of clips of each class."""
    rows = {"train": [], "test": []}
    number = 0
    for name, count in TRAIN_COUNTS.items():
        for split, size in (("train", count), ("test", 50)):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(
                (f"-{place:010d}", place % 300, name, split)
                for place in range(number, number + size)
            )
            rows[split] += text.getvalue().splitlines()
            number += size
    return rows


def test_the_official_lists_have_the_documented_counts_and_absent_clips_are_counted(
    tmp_path, capsys
):
    folder = lay_out(tmp_path, **full_rows())
    clips, defects = VGGSOUND50.listing(folder)
    assert defects == []
    labels = {
        split: [clip.label for clip in clips if clip.split == split] for split in ("train", "test")
    }
    assert (len(labels["train"]), len(labels["test"])) == (25_835, 2_500)
    assert np.bincount(labels["train"]).tolist() == list(TRAIN_COUNTS.values())
    assert np.bincount(labels["test"]).tolist() == [50] * 50
    options = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path / "data")
    text = run_data(capsys, "check", "vggsound50", *options, expect=1)
    assert text.splitlines()[:3] == [
        "train   25,835 documented  25,835 listed       0 usable",
        "test     2,500 documented   2,500 listed       0 usable",
        "28,335 missing file:",
    ]


@pytest.mark.parametrize("name", ["train_tiny.csv", "test_tiny.csv"])
def test_a_folder_without_a_list_is_answered_by_one_line(tmp_path, capsys, name):
    folder = lay_out(tmp_path, [FIRST])
    (folder / name).unlink()
    options = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path / "data")
    line = run_data(capsys, "check", "vggsound50", *options, expect=2)
    assert f"{folder} holds no {name}; data.manual_dir of vggsound50 must be a folder" in line


PLANTED = {
    "LFS pointer": lambda path: path.write_text(POINTER, encoding="ascii"),
    "no sound": only_pictures,
    "silent": silent,
    "truncated file": lambda path: cut(path, 0.6),
    "missing file": lambda path: path.unlink(),
    "unreadable file": lambda path: path.write_bytes(b"<html>gone</html>"),
    "no picture": only_sound,
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A generated tree with a planted defect of each kind, and the names of what is wrong."""
    folder = tmp_path_factory.mktemp("vggsound50")
    kinds = list(PLANTED)
    rows = [f"{place:011d},{place},thunder,train" for place in range(len(kinds) + 3)]
    extra = [rows[7], "xxxxxxxxxxx,3,airplane,train", "broken"]
    lay_out(folder, [*rows, *extra], [TESTED, rows[8]])
    make_clips(VGGSOUND50, folder)
    for place, kind in enumerate(kinds):
        PLANTED[kind](folder / "video" / f"{place:011d}_{place:06d}.mp4")
    names = {kind: [f"{place:011d}_{place:06d}"] for place, kind in enumerate(kinds)}
    names["duplicate id"] = ["00000000007_000007"]
    names["id in two splits"] = ["00000000008_000008"]
    names["unknown label"] = ["xxxxxxxxxxx_000003.mp4"]
    names["malformed row"] = ["train_tiny.csv:13"]
    return folder, names


def test_a_check_names_every_planted_defect_and_training_skips_the_clips(damaged, tmp_path, capsys):
    folder, names = damaged
    options = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path)
    text = run_data(capsys, "check", "vggsound50", *options, expect=1)
    assert found(text) == names
    assert "train   25,835 documented      10 listed       3 usable" in text
    assert "test, thunder: 1 clips listed, 50 documented" in text
    with pytest.raises(ConfigError, match=r"vggsound50: .*1 no sound .*data.strict refuses them"):
        data.make("vggsound50", data_dir=tmp_path, seed=0, manual_dir=str(folder), strict=True)
    options = {"manual_dir": str(folder), "validation": 0.3}
    dataset = data.make("vggsound50", data_dir=tmp_path, seed=0, **options)
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [2, 1, 1]
    assert dataset.class_names == CLASS_NAMES


@LOADS
def test_the_shipped_config_trains_on_a_folder_of_clips_and_reports(tmp_path, monkeypatch):
    names = ("thunder", "helicopter", "cat meowing", "dog howling")
    rows = [f"{place:011d},{place},{names[place % 4]}" for place in range(20)]
    folder = lay_out(
        tmp_path / "VGGSound",
        [f"{row},train" for row in rows[:16]],
        [f"{row},test" for row in rows[16:]],
    )
    make_clips(VGGSOUND50, folder)
    run = train_reduced(
        monkeypatch, tmp_path, "vggsound50", "smoke", generated=0, manual_dir=str(folder)
    )
    assert (run / "report.html").is_file()
    assert set(json.loads((run / "results.json").read_text())["students"]) == {"audio->visual"}
