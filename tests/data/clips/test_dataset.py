"""A set of clips as a data set: carved validation, options, generated sets."""

import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
from clip_files import contents, run_data

from fdcmkd_jax import data
from fdcmkd_jax.data.ave import ave_set
from fdcmkd_jax.data.clips import generate as generation
from fdcmkd_jax.data.clips.dataset import carve_validation
from fdcmkd_jax.data.clips.generate import generate, make_pictures, make_sound, split_counts
from fdcmkd_jax.data.clips.prepared import PreparedSplit
from fdcmkd_jax.data.crema_d import CREMA_D
from fdcmkd_jax.data.index import read_index
from fdcmkd_jax.data.vggsound50 import VGGSOUND50
from fdcmkd_jax.registry import ConfigError


def split_of(names):
    """A training split of clips ``speaker_number``."""
    columns = {
        "labels": [number % 3 for number in range(len(names))],
        "ids": [10 + number for number in range(len(names))],
        "names": names,
        "groups": [name.split("_")[0] for name in names],
    }
    return PreparedSplit([{"id": 10 + number} for number in range(len(names))], columns)


NAMES = [f"{speaker}_{number}" for speaker in range(40) for number in range(25)]


def carved(names, share=0.1, **options):
    """The names of each part."""
    train = split_of(names)
    parts = carve_validation(train, share, **{"whole_groups": False, **options})
    return {
        part: [names[number - 10] for number in read_index(split).ids]
        for part, split in parts.items()
    }


@pytest.mark.parametrize("whole_groups", [False, True])
def test_validation_is_the_same_each_time_and_no_clip_is_in_both_parts(whole_groups):
    one, two = (carved(NAMES, whole_groups=whole_groups) for _ in range(2))
    assert one == two
    assert not set(one["train"]) & set(one["val"])
    assert sorted(one["train"] + one["val"]) == sorted(NAMES)
    assert len(one["val"]) == 100
    assert one["train"] == [name for name in NAMES if name not in one["val"]], "in order"


def test_the_records_of_a_part_are_those_of_its_index():
    train = split_of(NAMES)
    for part in carve_validation(train, 0.3, whole_groups=True).values():
        ids = [part[row]["id"] for row in range(len(part))]
        np.testing.assert_array_equal(read_index(part).ids, ids)
        np.testing.assert_array_equal(read_index(part).labels, (np.array(ids) - 10) % 3)


def test_the_clips_with_the_first_hashes_are_for_validation():
    ordered = sorted(NAMES, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert set(carved(NAMES, 0.25)["val"]) == set(ordered[:250])


def test_whole_speakers_are_kept_together():
    parts = carved(NAMES, 0.25, whole_groups=True)
    speakers = {part: {name.split("_")[0] for name in names} for part, names in parts.items()}
    assert not speakers["train"] & speakers["val"]
    assert (len(speakers["train"]), len(speakers["val"])) == (30, 10)
    apart = {name.split("_")[0] for name in carved(NAMES, 0.25)["val"]}
    assert len(apart) > 30


@pytest.mark.parametrize("whole_groups", [False, True])
def test_an_absent_clip_hardly_changes_the_parts_of_the_others(whole_groups):
    whole = set(carved(NAMES, whole_groups=whole_groups)["val"])
    for absent in NAMES[::50]:
        rest = [name for name in NAMES if name != absent]
        part = set(carved(rest, whole_groups=whole_groups)["val"])
        assert len((whole - {absent}) ^ part) <= 1


@pytest.mark.parametrize("share", [0.0, 0.0001, 1.0, -0.2, 7.0])
def test_a_share_that_leaves_a_part_empty_is_refused(share):
    with pytest.raises(ValueError, match=f"leaves clips in both parts, got {share} of 1000 clips"):
        carved(NAMES, share)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A data folder with a generated CREMA-D of two training clips a class."""
    folder = tmp_path_factory.mktemp("generated")
    data.make("crema_d", data_dir=folder, seed=0, generated=2, spectrogram="small")
    return folder


def crema_d(folder, **options):
    options = {"generated": 2, "spectrogram": "small", **options}
    return data.make("crema_d", data_dir=folder, seed=0, **options)


def test_generated_clips_are_made_once(generated):
    before = contents(generated)
    dataset = crema_d(generated, validation=0.25, num_frames=2, image_size=20)
    assert contents(generated) == before
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 9,
        "val": 3,
        "test": 6,
    }
    assert dataset.first_example()["visual"]["frames"].shape == (2, 20, 20, 3)
    assert data.make("crema_d", data_dir=generated, seed=5, generated=2, spectrogram="small")


def test_the_splits_do_not_depend_on_the_seed_of_the_run(generated):
    one, two = (
        data.make("crema_d", data_dir=generated, seed=seed, generated=2, spectrogram="small")
        for seed in (0, 1)
    )
    assert not one.seeded_splits
    for name in one.splits:
        ids = [read_index(each.splits[name]).ids for each in (one, two)]
        np.testing.assert_array_equal(*ids)


def test_one_speaker_cannot_be_in_both_parts(generated):
    # The first twelve generated clips of each class are of one speaker.
    with pytest.raises(ConfigError, match="validation must be a share that leaves clips in both"):
        crema_d(generated, speaker_disjoint=True)


def test_speakers_of_validation_are_not_in_training(tree, tmp_path):
    options = {"manual_dir": str(tree), "validation": 0.5, "generated": 0}
    groups = [clip.group for clip in CREMA_D.listing(tree).clips]
    for disjoint in (True, False):
        splits = crema_d(tmp_path, speaker_disjoint=disjoint, **options).splits
        train, val = ({groups[i] for i in read_index(splits[n]).ids} for n in ("train", "val"))
        assert train.isdisjoint(val) == disjoint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": -0.2}, "validation must be a share that leaves clips in both parts"),
        ({"validation": 0.0}, "validation must be a share that leaves clips in both parts"),
        ({"validation": 1.0}, "validation must be a share that leaves clips in both parts"),
        ({"spectrogram": "big"}, "unknown spectrogram 'big'"),
        ({"generated": -1}, "the number of generated clips must be positive, got -1"),
        ({"pitch": 1}, "unknown option of data set 'crema_d'"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused(generated, options, message):
    with pytest.raises(ConfigError, match=message):
        crema_d(generated, **options)


def test_a_generated_set_is_described(generated, capsys):
    options = ("--option", "generated=2", "--option", "spectrogram=small", "--data_dir", generated)
    text = run_data(capsys, "describe", "crema_d", *options)
    assert "float32 [129, 65, 1] from waveform int16 [16384]" in text
    assert "float32 [224, 224, 3] from frames uint8 [224, 224, 3]" in text
    assert "NEU" in text


def test_the_transform_of_a_set_reaches_worker_processes(generated):
    dataset = crema_d(generated, num_masks=2)
    assert pickle.loads(pickle.dumps(dataset.transform)) == dataset.transform
    assert dataset.augmented == ("audio", "visual")
    assert dataset.transform.mask_shape == (129, 65)
    assert crema_d(generated).augmented == ("visual",)


@pytest.mark.parametrize("clip_set", [CREMA_D, ave_set(), VGGSOUND50], ids=lambda each: each.name)
@pytest.mark.parametrize("count", [1, 3])
def test_generated_lists_have_as_many_clips_of_each_class(clip_set, count, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "write_clip", lambda folder, clip: None)
    folder = generate(clip_set, tmp_path, count)
    clips, defects = clip_set.listing(folder)
    assert defects == []
    sizes = split_counts(count, *(set(clip_set.counts) - {"train"}))
    assert sizes == {split: count if split == "train" else 1 for split in clip_set.counts}
    assert Counter((clip.split, clip.label) for clip in clips) == {
        (split, label): size
        for split, size in sizes.items()
        for label in range(len(clip_set.class_names))
    }
    assert generate(clip_set, tmp_path, count) == folder
    assert not list(tmp_path.glob("unfinished*"))


def test_the_classes_of_generated_clips_differ_in_pitch_and_stripes():
    def pitch(label, seed):
        sound = make_sound(label, np.random.default_rng(seed))
        return np.argmax(np.abs(np.fft.rfft(sound))) * 16_000 / len(sound)

    for label in range(0, 50, 7):
        expected = 150 * 2 ** (label / 12)
        assert pitch(label, label) == pytest.approx(expected, rel=0.025)
    one, same, other = (
        make_pictures(label, np.random.default_rng(3)).astype(int) for label in (4, 4, 9)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).mean() > 20
