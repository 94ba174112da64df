"""AVE: its lists, the check of its files, and a run from the command line."""

import json
from collections import Counter

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
from fdcmkd_jax.data.ave import CLASS_NAMES, FILES, HEADER, ave_set
from fdcmkd_jax.registry import ConfigError

LOADS = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
BELL = "Church bell&c---zaDCTaE&good&0&10"


def lay_out(folder, train, val=(), test=(), *, newline="\n", first=""):
    (folder / "AVE").mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", train), ("val", val), ("test", test)):
        text = first + newline.join([*rows, ""])
        (folder / FILES[split]).write_bytes(text.encode())
    return folder


def test_a_row_names_the_video_the_event_and_its_seconds(tmp_path):
    rows = ["Fixed-wing aircraft, airplane&-A0zaDCTaE_&good&3&8"]
    folder = lay_out(tmp_path, rows, test=[BELL])
    clips, defects = read_all(ave_set(), folder)
    assert defects == {}
    clip = clips["-A0zaDCTaE__3_8_3"]
    assert (clip.label, clip.split, clip.group) == (3, "train", "-A0zaDCTaE_")
    assert clip.sound == clip.video == "AVE/-A0zaDCTaE_.mp4"
    assert clip.segment == (3, 8)
    whole, _ = read_all(ave_set(segment=False), folder)
    assert whole["-A0zaDCTaE__3_8_3"].segment is None
    assert clips["c---zaDCTaE_0_10_0"].split == "test"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("first", ["", "\ufeff"])
@pytest.mark.parametrize("header", [[], ["&".join(HEADER)]])
def test_a_header_line_line_ends_and_a_byte_order_mark_do_not_matter(
    tmp_path, newline, first, header
):
    rows = [*header, BELL, "Rodents, rats, mice&-----------&good&0&0"]
    clips, defects = read_all(ave_set(), lay_out(tmp_path, rows, newline=newline, first=first))
    assert defects == {}
    assert [clip.label for clip in clips.values()] == [0, 25]


@pytest.mark.parametrize(
    ("row", "kind", "name"),
    [
        ("Church bell&c---zaDCTaE&good&0", "malformed row", "trainSet.txt:2"),
        ("Church bell&c---zaDCTaE&good&0&10&", "malformed row", "trainSet.txt:2"),
        ("Church bell,c---zaDCTaE,good,0,10", "malformed row", "trainSet.txt:2"),
        ("Church bell&c---zaDC&good&0&10", "malformed row", "trainSet.txt:2"),
        ("Church bell&../../x.mp&good&0&10", "malformed row", "trainSet.txt:2"),
        ("Church bell&c---zaDCTaE&good&0&1.5", "malformed row", "trainSet.txt:2"),
        ("Church bell&c---zaDCTaE&good&-1&5", "malformed row", "trainSet.txt:2"),
        ("Church bells&d---zaDCTaE&good&0&10", "unknown label", "d---zaDCTaE"),
        (BELL, "duplicate id", "c---zaDCTaE_0_10_0"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, row, kind, name):
    _, defects = read_all(ave_set(), lay_out(tmp_path, [BELL, row]))
    assert defects == {name: kind}


def test_a_row_of_two_lists_is_named_and_another_event_of_its_video_is_not(tmp_path):
    other = "Bark&c---zaDCTaE&good&2&5"
    clips, defects = read_all(ave_set(), lay_out(tmp_path, [BELL], [other], [BELL]))
    assert defects == {"c---zaDCTaE_0_10_0": "id in two splits"}
    assert {clip.split for clip in clips.values()} == {"train", "val"}


def test_a_second_event_of_a_video_is_kept_or_left_out(tmp_path):
    rows = ["Banjo&v---zaDCTaE&good&0&10", "Mandolin&v---zaDCTaE&good&0&10", BELL]
    folder = lay_out(tmp_path, rows, rows[1:2])
    both, _ = read_all(ave_set(), folder)
    assert [clip.label for clip in both.values()] == [17, 27, 0]
    one, defects = read_all(ave_set(duplicates=False), folder)
    assert [(clip.label, clip.split) for clip in one.values()] == [
        (17, "train"),
        (0, "train"),
        (27, "val"),
    ]
    assert defects == {}


def test_records_of_each_choice_lie_beside_each_other(tmp_path):
    folder = lay_out(tmp_path / "files", *([f"Bark&{c * 11}&good&0&1"] for c in "abc"))
    make_clips(ave_set(), folder)
    for options in ({}, {"segment": False}, {"duplicates": False}):
        dataset = data.make("ave", data_dir=tmp_path, seed=0, manual_dir=str(folder), **options)
        seconds = len(dataset.splits["val"][0]["waveform"]) / 16_000
        assert seconds == pytest.approx(2.5 if "segment" in options else 1, abs=0.1)
    names = {path.name for path in (tmp_path / "paired_clips").iterdir()}
    assert names == {"ave_16000hz", "ave_whole_16000hz", "ave_single_16000hz"}


def full_rows():
    """Rows by split: 27 and 1 videos have two events, and 18 training videos are in other lists."""

    def rows(start, count, shift=0):
        return [
            f"{CLASS_NAMES[(number + shift) % 28]}&-{number:09d}_&good&{number % 9}&10"
            for number in range(start, start + count)
        ]

    train = [*rows(0, 3312), *rows(100, 27, shift=1)]
    train[7] = "Church bell&VWi2ENBuTbw&good&0&0"
    val = [*rows(5000, 391), *rows(200, 10, shift=2), *rows(5000, 1, shift=1)]
    test = [*rows(6000, 394), *rows(300, 8, shift=2)]
    return {"train": train, "val": val, "test": test}


@pytest.mark.parametrize(
    ("duplicates", "counts"), [(True, (3339, 402, 402)), (False, (3312, 401, 402))]
)
def test_the_official_lists_have_the_documented_counts_and_absent_clips_are_counted(
    tmp_path, capsys, duplicates, counts
):
    folder = lay_out(tmp_path, **full_rows())
    clips, defects = ave_set(duplicates=duplicates).listing(folder)
    assert defects == []
    assert Counter(clip.split for clip in clips) == dict(zip(FILES, counts, strict=True))
    assert len({clip.group for clip in clips}) == 4097
    options = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path / "data")
    if not duplicates:
        options = (*options, "--option", "duplicates=false")
    text = run_data(capsys, "check", "ave", *options, expect=1)
    total = sum(counts)
    assert text.splitlines()[:4] == [
        f"train    {counts[0]:,} documented   {counts[0]:,} listed       0 usable",
        f"val        {counts[1]} documented     {counts[1]} listed       0 usable",
        f"test       {counts[2]} documented     {counts[2]} listed       0 usable",
        f"{total:,} missing file:",
    ]


@pytest.mark.parametrize("name", ["AVE", *FILES.values()])
def test_a_folder_without_a_list_or_folder_is_answered_by_one_line(tmp_path, capsys, name):
    folder = lay_out(tmp_path, [BELL])
    path = folder / name
    path.rmdir() if path.is_dir() else path.unlink()
    options = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path / "data")
    line = run_data(capsys, "check", "ave", *options, expect=2)
    assert f"{folder} holds no {name}; data.manual_dir of ave must be the folder AVE_Data" in line


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
    folder = tmp_path_factory.mktemp("ave")
    kinds = list(PLANTED)
    rows = [f"Bark&{place:011d}&good&0&2" for place in range(len(kinds) + 2)]
    extra = [rows[7], "Barking&xxxxxxxxxxx&good&0&2", "broken"]
    lay_out(folder, [*rows, *extra], ["Cat&vvvvvvvvvvv&good&0&0"], [rows[8], BELL])
    make_clips(ave_set(), folder)
    for place, kind in enumerate(kinds):
        PLANTED[kind](folder / "AVE" / f"{place:011d}.mp4")
    names = {kind: [f"{place:011d}_0_2_2"] for place, kind in enumerate(kinds)}
    names["duplicate id"] = ["00000000007_0_2_2"]
    names["id in two splits"] = ["00000000008_0_2_2"]
    names["unknown label"] = ["xxxxxxxxxxx"]
    names["malformed row"] = ["trainSet.txt:12"]
    return folder, names


def test_a_check_names_every_planted_defect_and_training_skips_the_clips(damaged, tmp_path, capsys):
    folder, names = damaged
    options = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path)
    text = run_data(capsys, "check", "ave", *options, expect=1)
    assert found(text) == names
    assert "train    3,339 documented       9 listed       2 usable" in text
    with pytest.raises(ConfigError, match=r"ave: .*1 LFS pointer \(.*data.strict refuses them"):
        data.make("ave", data_dir=tmp_path, seed=0, manual_dir=str(folder), strict=True)
    dataset = data.make("ave", data_dir=tmp_path, seed=0, manual_dir=str(folder))
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [2, 1, 1]
    empty = dataset.splits["val"][0]  # Its row spans no second.
    assert len(empty["waveform"]) >= 2.5 * 16_000


@LOADS
def test_the_shipped_config_trains_on_a_folder_of_clips_and_reports(tmp_path, monkeypatch):
    rows = [f"{name}&{place:011d}&good&0&2" for place, name in enumerate(CLASS_NAMES[:20])]
    folder = lay_out(tmp_path / "AVE_Dataset", rows[:12], rows[12:16], rows[16:])
    make_clips(ave_set(), folder)
    run = train_reduced(
        monkeypatch, tmp_path, "ave", "smoke,none", generated=0, manual_dir=str(folder)
    )
    assert (run / "report.html").is_file()
    assert set(json.loads((run / "results.json").read_text())["students"]) == {"audio->visual"}
