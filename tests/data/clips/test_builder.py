"""Preparation of clips: records, interruptions, defects, and damaged records."""

import os
import shutil
import threading

import numpy as np
import pytest
from clip_files import contents, cut, run_data, silent

from fdcmkd_jax import data
from fdcmkd_jax.data.clips import builder, media
from fdcmkd_jax.data.clips.builder import prepare
from fdcmkd_jax.data.clips.decoding import (
    decoded_folder,
    records_folder,
    usable_clips,
    waveform_dtype,
)
from fdcmkd_jax.data.clips.prepared import read_prepared
from fdcmkd_jax.data.crema_d import CREMA_D
from fdcmkd_jax.data.index import read_index
from fdcmkd_jax.registry import ConfigError


def prepared(folder, data_dir, *, rate=16_000, **options):
    return prepare(CREMA_D, manual_dir=folder, data_dir=data_dir, sample_rate=rate, **options)


@pytest.fixture(scope="module")
def records(tree, tmp_path_factory):
    return prepared(tree, tmp_path_factory.mktemp("records"))


@pytest.fixture
def copy(tree, tmp_path):
    """A copy of the tree, to be damaged."""
    return shutil.copytree(tree, tmp_path / "copy")


def test_records_hold_what_the_files_hold_in_the_order_of_the_lists(tree, records):
    class_names, splits = read_prepared(records)
    assert class_names == CREMA_D.class_names
    clips = CREMA_D.listing(tree).clips
    for name, split in splits.items():
        listed = [(row, clip) for row, clip in enumerate(clips) if clip.split == name]
        assert len(split) == len(listed)
        assert split.names == [clip.name for _, clip in listed]
        assert split.groups == [clip.group for _, clip in listed]
        for (row, clip), record in zip(listed, map(split.__getitem__, range(99)), strict=False):
            assert (record["id"], record["label"]) == (row, clip.label)
            sound = media.read_sound(tree / clip.sound, sample_rate=16_000)
            assert record["waveform"].dtype == np.int16
            np.testing.assert_array_equal(record["waveform"], media.to_int16(sound))
            assert list(record["frames"]) == media.read_frames(tree / clip.video, min_frames=3)


def test_the_index_beside_the_records_is_that_of_the_records(records):
    for split in read_prepared(records)[1].values():
        index = read_index(split)
        rows = [split[row] for row in range(len(split))]
        np.testing.assert_array_equal(index.ids, [row["id"] for row in rows])
        np.testing.assert_array_equal(index.labels, [row["label"] for row in rows])
        assert index.ids.dtype == index.labels.dtype == np.int32


def test_resampled_sound_is_stored_in_float(tree, tmp_path):
    assert (waveform_dtype(16_000), waveform_dtype(22_050)) == ("int16", "float32")
    split = read_prepared(prepared(tree, tmp_path, rate=22_050))[1]["test"]
    clip = CREMA_D.listing(tree).clips[12]
    sound = media.read_sound(tree / clip.sound, sample_rate=22_050)
    np.testing.assert_array_equal(split[0]["waveform"], sound)


def test_prepared_records_need_the_folder_no_longer(records):
    data_dir = records.parents[2]
    before = contents(data_dir)
    assert not list(data_dir.rglob("*_decoded"))
    assert prepared(None, data_dir) == records
    dataset = data.make("crema_d", data_dir=data_dir, seed=0, spectrogram="small")
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 12
    assert not dataset.seeded_splits
    assert contents(data_dir) == before


class Count:
    """A decoder that counts its files, and may fail at one of them."""

    def __init__(self, patch, name, fail_after=None, error=KeyboardInterrupt):
        self.paths, self._lock = [], threading.Lock()
        self._function, self._fail_after, self._error = getattr(media, name), fail_after, error
        patch.setattr(media, name, self)

    def __call__(self, path, **options):
        with self._lock:
            if self._fail_after is not None and len(self.paths) >= self._fail_after:
                raise self._error(f"at {path.name}")
            self.paths.append(path)
        return self._function(path, **options)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
def test_an_interrupted_preparation_continues_with_the_clips_that_are_left(
    tree, tmp_path, monkeypatch, error, records
):
    with monkeypatch.context() as patch:
        first = Count(patch, "read_frames", fail_after=7, error=error)
        with pytest.raises(error):
            prepared(tree, tmp_path)
    assert len(first.paths) == 7
    decoded = list(tmp_path.rglob("*.npz"))
    assert len(decoded) == 7
    with monkeypatch.context() as patch:
        second = Count(patch, "read_frames")
        folder = prepared(tree, tmp_path)
    assert len(second.paths) == 8
    assert not set(first.paths) & set(second.paths)
    assert not list(tmp_path.rglob("*.npz"))
    for name, split in read_prepared(folder)[1].items():
        whole = read_prepared(records)[1][name]
        for row in range(len(whole)):
            np.testing.assert_array_equal(split[row]["waveform"], whole[row]["waveform"])
            assert split[row]["frames"] == whole[row]["frames"]


def test_a_half_written_clip_is_decoded_again(tree, tmp_path, monkeypatch):
    cache = decoded_folder(records_folder(CREMA_D, tmp_path, 16_000, ""))
    cache.mkdir(parents=True)
    (cache / "1001_IEO_NEU_XX.unfinished").write_bytes(b"half")
    count = Count(monkeypatch, "read_sound")
    prepared(tree, tmp_path)
    assert len(count.paths) == 15


def test_packing_that_was_interrupted_decodes_nothing_again(tree, tmp_path, monkeypatch):
    generate, rows = builder.PairedClips._generate_examples, []

    def broken(self, clips):
        rows.extend(list(generate(self, clips))[:2])
        yield from rows
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder.PairedClips, "_generate_examples", broken)
        with pytest.raises(KeyboardInterrupt):
            prepared(tree, tmp_path)
    assert rows
    count = Count(monkeypatch, "read_sound")
    folder = prepared(tree, tmp_path)
    assert count.paths == []
    assert [len(split) for split in read_prepared(folder)[1].values()] == [12, 3]


def test_a_defective_clip_is_skipped_with_a_warning_and_written_down(copy, tmp_path, caplog):
    silent(copy / "AudioWAV" / "1001_IEO_HAP_XX.wav")
    cut(copy / "AudioWAV" / "1002_IEO_SAD_XX.wav", 0.5)
    (copy / "VideoFlash" / "1001_IEO_FEA_XX.flv").unlink()
    (copy / "VideoFlash" / "1001_IEO_ANG_XX.flv").unlink()
    with caplog.at_level("WARNING", "absl"):
        folder = prepared(copy, tmp_path)
    lines = sorted(record.getMessage() for record in caplog.records)
    assert lines == [
        "crema_d: 1 skipped: silent (1001_IEO_HAP_XX)",
        "crema_d: 1 skipped: truncated file (1002_IEO_SAD_XX)",
        "crema_d: 2 skipped: missing file (1001_IEO_FEA_XX, 1001_IEO_ANG_XX)",
    ]
    train = read_prepared(folder)[1]["train"]
    assert read_index(train).ids.tolist() == [0, 2, 4, 6, 7, 9, 10, 11], "those of the lists"
    skipped = builder.tfds.builder_from_directory(folder).info.metadata["skipped"]
    assert [defect[:2] for defect in skipped] == [
        ["silent", "1001_IEO_HAP_XX"],
        ["missing file", "1001_IEO_FEA_XX"],
        ["missing file", "1001_IEO_ANG_XX"],
        ["truncated file", "1002_IEO_SAD_XX"],
    ]
    assert all(len(defect) == 3 for defect in skipped)


def test_strict_refuses_a_defect_and_loses_nothing(copy, tmp_path, monkeypatch):
    lost = copy / "VideoFlash" / "1001_IEO_FEA_XX.flv"
    kept = lost.read_bytes()
    lost.unlink()
    with pytest.raises(ConfigError, match=r"1 missing file \(1001_IEO_FEA_XX\); data.strict"):
        prepared(copy, tmp_path, strict=True)
    lost.write_bytes(kept)
    count = Count(monkeypatch, "read_frames")
    assert prepared(copy, tmp_path, strict=True).is_dir()
    assert count.paths == [lost]


def test_a_split_without_a_usable_clip_is_refused(copy, tmp_path):
    for path in copy.glob("AudioWAV/1003*"):
        path.unlink()
    with pytest.raises(ConfigError, match="no clip of the split test can be used: 3 missing file"):
        prepared(copy, tmp_path)


@pytest.mark.parametrize("damage", ["empty", "half", "absent"])
@pytest.mark.parametrize(
    "pattern", ["dataset_info.json", "features.json", "metadata.json", "*test.array_record*"]
)
def test_damaged_records_are_answered_by_one_line(records, tmp_path, capsys, pattern, damage):
    folder = shutil.copytree(records.parents[2], tmp_path / "records")
    (path,) = folder.rglob(pattern)
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:-40])
    options = ("--option", "spectrogram=small", "--data_dir", folder)
    line = run_data(capsys, "describe", "crema_d", *options, expect=2)
    assert "cannot read the records under" in line
    assert "delete that folder to prepare them again" in line


def test_records_that_another_process_finished_meanwhile_are_used(tree, tmp_path, monkeypatch):
    generate, others = builder.PairedClips._generate_examples, []

    def overtaken(self, clips):
        if not others:
            others.append("another process")
            shutil.copytree(self.builder_config.cache, tmp_path / "saved")
            prepared(tree, tmp_path)
            shutil.copytree(tmp_path / "saved", self.builder_config.cache)
        yield from generate(self, clips)

    monkeypatch.setattr(builder.PairedClips, "_generate_examples", overtaken)
    folder = prepared(tree, tmp_path)
    assert others
    assert not list(folder.parent.glob("incomplete*"))
    assert [len(split) for split in read_prepared(folder)[1].values()] == [12, 3]


def test_a_file_that_changed_after_it_was_decoded_is_decoded_again(copy, tmp_path):
    clips = CREMA_D.read_lists(copy).clips
    cache = tmp_path / "cache"
    assert usable_clips(CREMA_D, copy, cache, 16_000)[1] == []
    sound = copy / clips[0].sound
    later = sound.stat().st_mtime + 3600
    sound.write_bytes(media.LFS_POINTER)
    os.utime(sound, (later, later))
    (copy / clips[1].video).unlink()
    kinds = {defect.name: defect.kind for defect in usable_clips(CREMA_D, copy, cache, 16_000)[1]}
    assert kinds == {clips[0].name: "LFS pointer", clips[1].name: "missing file"}
