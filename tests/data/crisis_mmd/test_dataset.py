"""CrisisMMD from files to examples."""

import shutil

import numpy as np
import pytest
from crisis_files import AGREED, row
from PIL import Image

from fdcmkd_jax import data
from fdcmkd_jax.data import __main__ as command
from fdcmkd_jax.data.crisis_mmd.generate import write_tree
from fdcmkd_jax.data.crisis_mmd.lists import Choice
from fdcmkd_jax.registry import ConfigError

TRAIN = f"{AGREED}/task_humanitarian_text_img_agreed_lab_train.tsv"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole generated tree: 30 rows for training, 15 for validation and test each."""
    folder = tmp_path_factory.mktemp("crisis") / "tree"
    write_tree(folder, Choice(), 6)
    return folder


@pytest.fixture
def tree(whole, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(whole, tmp_path / "tree")


def load(tree, data_dir, **options):
    options = {"tokenizer": str(tree), "max_tokens": 16, "image_size": 24, **options}
    return data.make("crisis_mmd", data_dir=data_dir, seed=0, manual_dir=str(tree), **options)


def fields_of(tree, line):
    return (tree / TRAIN).read_text(encoding="utf-8").splitlines()[line].split("\t")


def change(tree, line, **fields):
    """Changes fields of a line of the training list."""
    path = tree / TRAIN
    lines = path.read_text(encoding="utf-8").splitlines()
    values = dict(zip(lines[0].split("\t"), lines[line].split("\t"), strict=True))
    lines[line] = "\t".join((values | fields).values())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_records_hold_pictures_as_they_are_and_texts_with_labels_beside_them(whole, tmp_path):
    dataset = load(whole, tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 30,
        "val": 15,
        "test": 15,
    }
    train = dataset.splits["train"]
    np.testing.assert_array_equal(train.index.labels, np.arange(30) % 5)
    assert len({*train.index.ids.tolist()}) == 30
    for place in (0, 6):  # A JPEG and a PNG file.
        fields = fields_of(whole, 1 + place)
        record = train[place]
        assert record["image"] == (whole / fields[4]).read_bytes()
        assert record["text"].decode() == fields[3]
        assert (record["label"], record["id"]) == (place % 5, place)
    assert fields_of(whole, 7)[4].endswith(".png")
    assert any(train[place]["text"].startswith(b'"') for place in range(30))


def test_labels_may_be_chosen_after_the_records_were_written(whole, tmp_path):
    load(whole, tmp_path)
    folders = list((tmp_path / "image_text_pairs").iterdir())
    dataset = load(tmp_path, tmp_path, tokenizer=str(whole), classes=8)
    assert len(dataset.class_names) == 8
    names = [dataset.class_names[label] for label in dataset.splits["train"].index.labels[:5]]
    assert names == list(Choice().class_names)
    assert list((tmp_path / "image_text_pairs").iterdir()) == folders


def test_examples_are_the_same_in_evaluation_and_drawn_in_training(whole, tmp_path):
    dataset = load(whole, tmp_path)
    record = dataset.splits["train"][0]
    both = ("image", "text")
    one, other = (dataset.transform(record, None, both) for _ in range(2))
    np.testing.assert_array_equal(one["image"]["pixels"], other["image"]["pixels"])
    assert (one["image"]["pixels"].shape, one["image"]["pixels"].dtype) == ((24, 24, 3), np.uint8)
    ids = one["text"]["ids"]
    assert (ids.shape, ids.dtype, ids[0]) == ((16,), np.int32, 2)
    drawn = [dataset.transform(record, np.random.default_rng(s), both) for s in (0, 0, 1)]
    pixels = [example["image"]["pixels"] for example in drawn]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    assert np.any(pixels[0] != pixels[2])
    for example in drawn:
        np.testing.assert_array_equal(example["text"]["ids"], ids)
    alone = dataset.transform(record, np.random.default_rng(0), ("image",))
    np.testing.assert_array_equal(alone["image"]["pixels"], pixels[0])
    assert "text" not in alone
    assert dataset.augmented == ("image",)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_preprocessing_is_rebuilt_from_its_constants(whole, tmp_path, modality):
    dataset = load(whole, tmp_path)
    known = dataset.preprocessing[modality]
    record = {"data": "crisis_mmd", "modality": modality, "constants": dict(known.constants)}
    rebuilt = data.preprocessing(record)
    assert rebuilt.inputs == known.inputs
    raw = dataset.first_example()[modality]
    batch = {name: array[None] for name, array in raw.items()}
    np.testing.assert_array_equal(rebuilt.function(batch), known.function(batch))
    if modality == "image":
        expected = (raw["pixels"] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(rebuilt.function(batch)[0], expected, rtol=0, atol=1e-5)


def test_check_finds_every_planted_defect(tree, tmp_path, capsys):
    (tree / fields_of(tree, 1)[4]).unlink()
    picture = tree / fields_of(tree, 2)[4]
    picture.write_bytes(picture.read_bytes()[:-200])
    (tree / fields_of(tree, 3)[4]).write_bytes(b"<html>not found</html>")
    change(tree, 4, label="fire_damage")
    change(tree, 5, label_image="affected_individuals", label_text="not_humanitarian")
    change(tree, 6, image_id=fields_of(tree, 8)[2])
    change(tree, 7, image="../../etc/passwd")
    change(tree, 9, tweet_text="a text\twith a tab")
    val = tree / TRAIN.replace("train", "dev")
    tweet = fields_of(tree, 10)[1]
    with val.open("a", encoding="utf-8") as file:
        file.write("\t".join(row(1, "not_humanitarian", tweet=tweet)) + "\n")
    change(tree, 11, tweet_text=" ")
    report = data.check("crisis_mmd", data_dir=tmp_path, manual_dir=str(tree))
    assert {(defect.kind, defect.name) for defect in report.defects} == {
        ("missing file", fields_of(tree, 1)[2]),
        ("truncated file", fields_of(tree, 2)[2]),
        ("unreadable file", fields_of(tree, 3)[2]),
        ("unknown label", fields_of(tree, 4)[2]),
        ("wrong label", fields_of(tree, 5)[2]),
        ("duplicate id", fields_of(tree, 8)[2]),
        ("malformed row", "task_humanitarian_text_img_agreed_lab_train.tsv:8"),
        ("malformed row", "task_humanitarian_text_img_agreed_lab_train.tsv:10"),
        ("id in two splits", f"{tweet}_1"),
        ("no text", fields_of(tree, 11)[2]),
    }
    words = ["check", "crisis_mmd", "--option", f"manual_dir={tree}"]
    assert command.main([*words, "--data_dir", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "train    6,126 documented      24 listed      21 usable" in printed
    assert "1 truncated file:" in printed
    # Training skips what is defective, or refuses it.
    dataset = load(tree, tmp_path / "records")
    assert len(dataset.splits["train"]) == 21
    with pytest.raises(ConfigError, match=r"1 missing file \(.*data.strict refuses them"):
        load(tree, tmp_path / "strict", strict=True)


def test_odd_pictures_are_decoded(tree, tmp_path):
    gray = tree / fields_of(tree, 1)[4]
    Image.new("L", (9, 5), 200).save(gray, "JPEG")
    palette = Image.new("P", (7, 7), 0)
    palette.info["transparency"] = bytes([0, 255])
    named_jpg = tree / fields_of(tree, 2)[4]
    palette.save(named_jpg, "PNG", transparency=bytes([0, 255]))
    Image.new("RGBA", (3, 4), (10, 20, 30, 0)).save(tree / fields_of(tree, 7)[4], "PNG")
    dataset = load(tree, tmp_path)
    assert len(dataset.splits["train"]) == 30
    for place in (0, 1, 6):
        example = dataset.transform(dataset.splits["train"][place], None, ("image",))
        assert example["image"]["pixels"].shape == (24, 24, 3)
    np.testing.assert_array_equal(example["image"]["pixels"][0, 0], [10, 20, 30])


def test_mistakes_are_answered_before_anything_is_read(whole, tmp_path):
    with pytest.raises(ConfigError, match=r"crisis_mmd needs a tokenizer: set data.tokenizer"):
        load(whole, tmp_path, tokenizer="")
    with pytest.raises(ConfigError, match="it must be downloaded by hand; expected the unpacked"):
        data.make("crisis_mmd", data_dir=tmp_path, seed=0, tokenizer=str(whole))
    with pytest.raises(ConfigError, match=r"there is no folder .*none; expected the unpacked"):
        load(tmp_path / "none", tmp_path, tokenizer=str(whole))
    with pytest.raises(ConfigError, match="image_size must be positive, got 0"):
        load(whole, tmp_path, image_size=0)
    with pytest.raises(ConfigError, match="number of generated rows must be positive, got -1"):
        load(whole, tmp_path, generated=-1)


def test_generated_rows_need_no_folder(tmp_path):
    dataset = data.make("crisis_mmd", data_dir=tmp_path, seed=0, generated=2, max_tokens=8)
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [10, 5, 5]
    assert dataset.first_example()["text"]["ids"].max() < 64
