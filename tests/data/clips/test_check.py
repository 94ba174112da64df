"""The check of a set's lists and files."""

import dataclasses

import pytest
from clip_files import run_data

from fdcmkd_jax import data
from fdcmkd_jax.data.clips import media
from fdcmkd_jax.data.clips.check import SHOWN, Report, check_files
from fdcmkd_jax.data.clips.clip_set import Clip, Defect
from fdcmkd_jax.data.crema_d import CREMA_D

WHOLE = dataclasses.replace(CREMA_D, counts={"train": (2,) * 6, "test": (1, 1, 1, 0, 0, 0)})


def test_a_whole_set_has_no_defect(tree, tmp_path):
    report = check_files(WHOLE, manual_dir=str(tree), data_dir=tmp_path, sample_rate=16_000)
    assert report.ok
    assert list(report.lines()) == [
        "train       12 documented      12 listed      12 usable",
        "test         3 documented       3 listed       3 usable",
        "no defect",
    ]


def test_the_command_answers_with_the_status_of_the_report(tree, tmp_path, capsys, monkeypatch):
    def check(*, data_dir, manual_dir):
        return check_files(WHOLE, manual_dir=manual_dir, data_dir=data_dir, sample_rate=16_000)

    monkeypatch.setitem(data.CHECKS, "whole", check)
    options = ("--option", f"manual_dir={tree}", "--data_dir", tmp_path)
    assert run_data(capsys, "check", "whole", *options).endswith("no defect\n")
    text = run_data(capsys, "check", "crema_d", *options, expect=1)
    assert "train: 12 clips listed, 6,698 documented" in text
    assert "test, ANG: 0 clips listed, 105 documented" in text


def test_preparation_goes_on_from_what_the_check_decoded(tree, tmp_path, capsys, monkeypatch):
    options = ("--option", f"manual_dir={tree}", "--data_dir", tmp_path)
    run_data(capsys, "check", "crema_d", *options, "--option", "spectrogram=small", expect=1)

    def sealed(path, **options):
        raise AssertionError(f"{path.name} was decoded again")

    monkeypatch.setattr(media, "read_sound", sealed)
    run_data(capsys, "check", "crema_d", *options, "--option", "spectrogram=small", expect=1)
    text = run_data(capsys, "prepare", "crema_d", *options, "--option", "spectrogram=small")
    assert "prepared: 11 train, 1 val, 3 test" in text


def test_a_set_that_is_not_downloaded_cannot_be_checked(tmp_path, capsys):
    line = run_data(capsys, "check", "av_digits", "--data_dir", tmp_path, expect=2)
    assert "unknown data set that can be checked: 'av_digits'" in line
    assert "ave, crema_d, " in line


def clips(count, *, split="train", label=0):
    return [Clip(f"{split}{label}{i}", label, split, "g", "s", "v") for i in range(count)]


def test_a_report_shows_some_defects_of_a_kind_and_counts_the_others():
    defects = [Defect("silent", f"clip{i}", f"line {i}") for i in range(SHOWN + 2)]
    report = Report(WHOLE, clips(2), clips(1), [*defects, Defect("no sound", "x", "y")])
    lines = list(report.lines())
    start = lines.index(f"{SHOWN + 2} silent:")
    assert lines[start + 1 : start + SHOWN + 2] == [
        *(f"    clip{i}: line {i}" for i in range(SHOWN)),
        "    and 2 more",
    ]
    assert lines[-3:-1] == ["1 no sound:", "    x: y"]
    assert "data.strict refuses them" in lines[-1]
    assert not report.ok


def test_counts_of_splits_are_compared_where_classes_are_not_documented():
    totals = dataclasses.replace(CREMA_D, counts={"train": (3,), "test": (1,)})
    listed = [*clips(2), *clips(1, label=4)]
    report = Report(totals, listed, listed, [])
    assert list(report.differences()) == ["test: 0 clips listed, 1 documented"]
    whole = Report(totals, [*listed, *clips(1, split="test")], listed, [])
    assert whole.ok


@pytest.mark.parametrize("kind", ["LFS pointer", "missing file"])
def test_a_defect_makes_a_set_incomplete(kind):
    listed = [*(c for label in range(6) for c in clips(2, label=label))]
    listed += [c for label in range(3) for c in clips(1, split="test", label=label)]
    assert Report(WHOLE, listed, listed, []).ok
    assert not Report(WHOLE, listed, listed[1:], [Defect(kind, listed[0].name, "")]).ok
