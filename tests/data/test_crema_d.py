"""CREMA-D: its lists, the check of its files, and a run from the command line."""

import itertools
import json

import numpy as np
import pytest
from clip_files import (
    POINTER,
    cut,
    found,
    jpeg,
    make_clips,
    read_all,
    run_data,
    silent,
    train_reduced,
)

from fdcmkd_jax import data
from fdcmkd_jax.data.crema_d import CREMA_D, EMOTIONS, SENTENCES, SPECTROGRAMS
from fdcmkd_jax.registry import ConfigError

TRAIN = [973, 1148, 1131, 1138, 1142, 1166]
TEST = [114, 123, 140, 133, 129, 105]

# ml_collections loads config files by a method that a later Python will not have.
LOADS = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def lay_out(folder, train, test=("1002_IEO_NEU_XX,NEU",), *, newline="\n", first=""):
    for name in ("AudioWAV", "VideoFlash"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("test", test)):
        text = first + newline.join([*rows, ""])
        (folder / f"{name}.csv").write_bytes(text.encode())
    return folder


def test_a_row_names_the_sound_the_video_the_emotion_and_the_speaker(tmp_path):
    clips, defects = read_all(CREMA_D, lay_out(tmp_path, ["1088_IOM_SAD_HI,SAD"]))
    assert defects == {}
    assert list(clips) == ["1088_IOM_SAD_HI", "1002_IEO_NEU_XX"]
    clip = clips["1088_IOM_SAD_HI"]
    assert (clip.label, clip.split, clip.group) == (2, "train", "1088")
    assert clip.sound == "AudioWAV/1088_IOM_SAD_HI.wav"
    assert clip.video == "VideoFlash/1088_IOM_SAD_HI.flv"
    assert clip.segment is None
    assert clips["1002_IEO_NEU_XX"].split == "test"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("first", ["", "\ufeff", "\r\n"])
def test_line_ends_a_byte_order_mark_and_empty_lines_do_not_matter(tmp_path, newline, first):
    rows = ["1088_IOM_SAD_HI,SAD", '"1001_IEO_ANG_XX","ANG"']
    clips, defects = read_all(CREMA_D, lay_out(tmp_path, rows, newline=newline, first=first))
    assert defects == {}
    assert [clip.label for clip in clips.values()] == [2, 5, 0]


def test_ready_frames_are_preferred_to_the_video(tmp_path):
    folder = lay_out(tmp_path, ["1088_IOM_SAD_HI,SAD", "1001_IEO_ANG_XX,ANG"])
    (folder / "Image-01-FPS" / "1001_IEO_ANG_XX").mkdir(parents=True)
    clips, _ = read_all(CREMA_D, folder)
    assert clips["1001_IEO_ANG_XX"].video == "Image-01-FPS/1001_IEO_ANG_XX"
    assert clips["1088_IOM_SAD_HI"].video == "VideoFlash/1088_IOM_SAD_HI.flv"
    (folder / "VideoFlash").rmdir()
    assert len(CREMA_D.listing(folder).clips) == 3


@pytest.mark.parametrize(
    ("rows", "kind", "name"),
    [
        (["1088_IOM_SAD_HI"], "malformed row", "train.csv:1"),
        (["1001_IEO_ANG_XX,ANG", "x,SAD"], "malformed row", "train.csv:2"),
        (["1088_IOM_SAD_HI.wav,SAD"], "malformed row", "train.csv:1"),
        (["1088_IOM_SAD_HI,SAD,0"], "malformed row", "train.csv:1"),
        (["../../x_IOM_SAD_HI,SAD"], "malformed row", "train.csv:1"),
        (["1088_IOM_SAD_HI,SUR"], "unknown label", "1088_IOM_SAD_HI"),
        (["1088_IOM_SAD_HI,sad"], "unknown label", "1088_IOM_SAD_HI"),
        (["1088_IOM_SAD_HI,HAP"], "wrong label", "1088_IOM_SAD_HI"),
        (["1088_IOM_SAD_HI,SAD"] * 2, "duplicate id", "1088_IOM_SAD_HI"),
        (["1002_IEO_NEU_XX,NEU"], "id in two splits", "1002_IEO_NEU_XX"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, rows, kind, name):
    _, defects = read_all(CREMA_D, lay_out(tmp_path, rows))
    assert defects == {name: kind}


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "AudioWAV", "VideoFlash"])
def test_a_folder_without_a_list_or_folder_is_answered_by_one_line(tmp_path, capsys, name):
    folder = lay_out(tmp_path, ["1088_IOM_SAD_HI,SAD"])
    path = folder / name
    path.rmdir() if path.is_dir() else path.unlink()
    option = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path / "data")
    for action in ("check", "prepare"):
        line = run_data(capsys, action, "crema_d", *option, expect=2)
        assert f"{folder} holds no {name}; data.manual_dir of crema_d must be a folder" in line
        assert "CheyneyComputerScience/CREMA-D" in line


def test_no_folder_and_a_list_of_bytes_are_answered_by_one_line(tmp_path, capsys):
    options = ("--data_dir", tmp_path / "data")
    line = run_data(capsys, "check", "crema_d", *options, expect=2)
    assert "crema_d must be downloaded by hand: set data.manual_dir to a folder" in line
    absent = tmp_path / "nowhere"
    where = ("--option", f"manual_dir={absent}")
    line = run_data(capsys, "check", "crema_d", *options, *where, expect=2)
    assert f"there is no folder {absent}" in line
    folder = lay_out(tmp_path / "bytes", [])
    (folder / "train.csv").write_bytes(b"\xff\xfe\x00\x01,\x00")
    where = ("--option", f"manual_dir={folder}")
    line = run_data(capsys, "check", "crema_d", *options, *where, expect=2)
    assert f"cannot read {folder / 'train.csv'}" in line


def full_rows():
    """Rows by split with the documented numbers of clips of each class."""
    rows = {"train": [], "test": []}
    for emotion, train, test in zip(EMOTIONS, TRAIN, TEST, strict=True):
        names = itertools.product(SENTENCES, ("XX", "HI"), range(1001, 1092))
        for number, (sentence, level, actor) in enumerate(itertools.islice(names, train + test)):
            split = "test" if number < test else "train"
            rows[split].append(f"{actor}_{sentence}_{emotion}_{level},{emotion}")
    return rows


def test_the_official_lists_have_the_documented_counts_and_absent_clips_are_counted(
    tmp_path, capsys
):
    folder = lay_out(tmp_path, **full_rows(), newline="\r\n", first="\ufeff")
    clips, defects = CREMA_D.listing(folder)
    assert defects == []
    for split, counts, total in (("train", TRAIN, 6698), ("test", TEST, 744)):
        labels = [clip.label for clip in clips if clip.split == split]
        assert len(labels) == total
        assert np.bincount(labels).tolist() == counts
    assert {clip.group for clip in clips} == {str(actor) for actor in range(1001, 1092)}
    options = ("--option", f"manual_dir={folder}", "--data_dir", tmp_path / "data")
    text = run_data(capsys, "check", "crema_d", *options, expect=1)
    lines = text.splitlines()
    assert lines[0] == "train    6,698 documented   6,698 listed       0 usable"
    assert lines[1] == "test       744 documented     744 listed       0 usable"
    assert lines[2] == "7,442 missing file:"
    assert "    and 7,437 more" in lines
    with pytest.raises(ConfigError, match="no clip of the split train can be used: 7442 missing"):
        data.make("crema_d", data_dir=tmp_path / "data", seed=0, manual_dir=str(folder))


DEFECTS = {
    "LFS pointer": ["1001_IEO_NEU_XX", "1001_IEO_HAP_XX"],
    "silent": ["1001_IEO_SAD_XX"],
    "truncated file": ["1001_IEO_FEA_XX", "1001_IEO_DIS_XX"],
    "missing file": ["1001_IEO_ANG_XX", "1001_TIE_NEU_XX"],
    "unreadable file": ["1001_TIE_HAP_XX"],
    "no picture": ["1001_TIE_SAD_XX"],
    "unknown label": ["1001_TIE_FEA_XX"],
    "wrong label": ["1001_TIE_DIS_XX"],
    "duplicate id": ["1001_TIE_ANG_XX"],
    "id in two splits": ["1001_IOM_NEU_XX"],
    "malformed row": ["test.csv:3"],
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A generated tree with a planted defect of each kind in `DEFECTS`."""
    folder = tmp_path_factory.mktemp("crema_d")
    names = [f"1001_{s}_{e}_XX,{e}" for s in ("IEO", "TIE", "IOM") for e in EMOTIONS]
    names[9] = "1001_TIE_FEA_XX,SUR"
    names[10] = "1001_TIE_DIS_XX,FEA"
    names.append("1001_TIE_ANG_XX,ANG")
    lay_out(folder, names, ["1001_IOM_NEU_XX,NEU", "1002_IEO_NEU_XX,NEU", "broken"])
    make_clips(CREMA_D, folder)
    sound, video = folder / "AudioWAV", folder / "VideoFlash"
    (sound / "1001_IEO_NEU_XX.wav").write_text(POINTER, encoding="ascii")
    (video / "1001_IEO_HAP_XX.flv").write_text(POINTER, encoding="ascii")
    silent(sound / "1001_IEO_SAD_XX.wav")
    cut(sound / "1001_IEO_FEA_XX.wav", 0.7)
    cut(video / "1001_IEO_DIS_XX.flv", 0.3)
    (sound / "1001_IEO_ANG_XX.wav").unlink()
    (video / "1001_TIE_NEU_XX.flv").unlink()
    (video / "1001_TIE_HAP_XX.flv").write_bytes(b"no video")
    (folder / "Image-01-FPS" / "1001_TIE_SAD_XX").mkdir(parents=True)
    (folder / "Image-01-FPS" / "1001_IOM_ANG_XX").mkdir()
    ready = jpeg(np.full((24, 32, 3), 99, np.uint8))
    (folder / "Image-01-FPS" / "1001_IOM_ANG_XX" / "00001.jpg").write_bytes(ready)
    return folder


def test_a_check_names_every_planted_defect_and_training_skips_the_clips(damaged, tmp_path, capsys):
    options = ("--option", f"manual_dir={damaged}", "--data_dir", tmp_path)
    text = run_data(capsys, "check", "crema_d", *options, expect=1)
    assert found(text) == DEFECTS
    assert "train    6,698 documented      16 listed       7 usable" in text
    assert "train, NEU: 3 clips listed, 973 documented" in text
    assert "git lfs pull" in text
    with pytest.raises(ConfigError, match=r"2 LFS pointer \(1001_IEO_NEU_XX, .*strict refuses"):
        data.make("crema_d", data_dir=tmp_path, seed=0, manual_dir=str(damaged), strict=True)
    dataset = data.make("crema_d", data_dir=tmp_path, seed=0, manual_dir=str(damaged))
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 6,
        "val": 1,
        "test": 1,
    }


@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_every_spectrogram_can_be_chosen_and_waveforms_have_its_rate(name, tmp_path):
    dataset = data.make("crema_d", data_dir=tmp_path, seed=0, generated=1, spectrogram=name)
    spec = SPECTROGRAMS[name]
    record = dataset.splits["test"][0]
    assert record["waveform"].dtype == ("int16" if spec.sample_rate == 16_000 else "float32")
    assert len(record["waveform"]) == pytest.approx(2.5 * spec.sample_rate, abs=1)
    example = dataset.first_example()
    assert example["audio"]["waveform"].shape == (spec.num_samples,)
    assert dataset.preprocessing["audio"].constants["sample_rate"] == spec.sample_rate


def test_an_unknown_spectrogram_is_answered_by_one_line(tmp_path, capsys):
    option = ("--option", "spectrogram=mel", "--data_dir", tmp_path)
    line = run_data(capsys, "check", "crema_d", *option, expect=2)
    assert "unknown spectrogram 'mel'" in line
    assert "fd_cmkd" in line


@LOADS
def test_the_shipped_config_trains_on_generated_clips_and_reports(tmp_path, monkeypatch):
    run = train_reduced(monkeypatch, tmp_path, "crema_d", "smoke,none", generated=2)
    assert (run / "report.html").is_file()
    assert set(json.loads((run / "results.json").read_text())["students"]) == {"audio->visual"}
