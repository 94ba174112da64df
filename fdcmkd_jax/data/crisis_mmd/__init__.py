"""CrisisMMD v2.0: tweets with pictures, from seven natural disasters of 2017."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fdcmkd_jax.data.base import Dataset
from fdcmkd_jax.data.clips.check import Report
from fdcmkd_jax.data.clips.clip_set import summary, warn_or_refuse
from fdcmkd_jax.data.crisis_mmd.files import Contents, read_contents
from fdcmkd_jax.data.crisis_mmd.generate import generate
from fdcmkd_jax.data.crisis_mmd.lists import SPLITS, Choice, Lists, Row, Target, TaskName
from fdcmkd_jax.data.image_text.stages import MODALITIES, Augment, PairTransform, of_image
from fdcmkd_jax.data.text import Tokens
from fdcmkd_jax.registry import ConfigError


def crisis_mmd(
    *,
    data_dir: Path,
    manual_dir: str = "",
    task: TaskName = "humanitarian",
    lists: Lists = "agreed",
    classes: int = 5,
    target: Target = "label",
    tokenizer: str = "",
    max_tokens: int = 128,
    image_size: int = 224,
    image_augment: Augment = "crop",
    strict: bool = False,
    generated: int = 0,
) -> Dataset:
    """Loads CrisisMMD: 6,126 / 998 / 955 tweets with a picture of 5 classes, by default.

    Modalities are ``image`` (``[N, H, W, 3]`` after preprocessing, float32) and ``text`` (token ids
    ``[N, L]``, int32).

    Args:
        data_dir: Folder of the prepared records.
        manual_dir: The downloaded folder; not needed once records are prepared.
        task: ``humanitarian``, ``informative`` (2 classes) or ``damage`` (3 classes).
        lists: ``agreed``, where text and picture have the same label, or ``all``.
        classes: Classes of the humanitarian task: 8 as annotated; 6 with all classes of people in
            one; 5 with damaged vehicles among damage, as in the agreed lists.
        target: Column that is learned: ``label``, or that of the ``text`` or of the ``image``; they
            differ in the lists ``all``.
        tokenizer: A ``tokenizer.json``, or the folder of an imported BERT, which holds one.
        max_tokens: L, the length to which texts are cut or padded.
        image_size: Side of a picture, in pixels.
        image_augment: Change of pictures in training: ``crop``, ``shift`` or ``none``.
        strict: Refuse a set with a defect, instead of skipping rows with a warning.
        generated: Number of rows per class to generate in place of the real ones, for a trial of
            the whole path; 0 for the real ones.

    Raises:
        ConfigError: If the records are not prepared and the folder is not as documented, or the
            tokenizer is missing.
        ValueError: If a value is out of range, or the files do not hold what is asked for.
    """
    from fdcmkd_jax.data.image_text import records  # Imports TFDS, which takes a moment.

    choice = Choice(task, lists, classes, target)
    choice.check()
    name = f"crisis_mmd_{choice.name}"
    if generated:
        manual_dir = str(generate(choice, data_dir / "generated", generated))
        tokenizer = tokenizer or manual_dir
        name += f"_generated{classes}x{generated}"
    if not tokenizer:
        raise ConfigError(
            "crisis_mmd needs a tokenizer: set data.tokenizer to a tokenizer.json, or to the "
            "folder of an imported BERT."
        )
    tokens = Tokens(tokenizer, max_tokens)
    transform = PairTransform(tokens, image_size, image_augment)
    folder = records.folder_of(data_dir, name)
    if not folder.is_dir():
        prepare(read_contents(manual_dir, choice), data_dir, name, strict=strict)
    sources, columns = records.read(folder)
    splits = {
        split: records.labelled(source, columns[split]["id"], _labels(columns[split], choice))
        for split, source in sources.items()
    }
    return Dataset(
        modalities=MODALITIES,
        class_names=choice.class_names,
        splits=splits,
        preprocessing={"image": of_image(image_size), "text": tokens.preprocessing},
        transform=transform,
        augmented=transform.augmented,
        seeded_splits=False,
    )


def check(
    *,
    data_dir: Path,
    manual_dir: str = "",
    task: TaskName = "humanitarian",
    lists: Lists = "agreed",
    classes: int = 5,
    target: Target = "label",
) -> Report:
    """Checks lists and pictures; see `crisis_mmd` for the options.

    Raises:
        ConfigError: If a list or folder is missing.
    """
    del data_dir  # Nothing is kept.
    choice = Choice(task, lists, classes, target)
    choice.check()
    contents = read_contents(manual_dir, choice)
    return Report(choice, contents.listed, contents.usable, contents.defects, "pictures")


def prepare(contents: Contents, data_dir: Path, name: str, *, strict: bool) -> None:
    """Writes the records: every usable row with its picture as it is, and the text.

    Args:
        contents: Of the user's folder.
        data_dir: Folder of the prepared records.
        name: Name of the records.
        strict: Refuse any defect.

    Raises:
        ConfigError: If a defect is refused, or no row of a split is left.
    """
    from fdcmkd_jax.data.image_text import records

    warn_or_refuse("crisis_mmd", contents.defects, strict=strict)
    by_split = {split: [row for row in contents.usable if row.split == split] for split in SPLITS}
    for split, rows in by_split.items():
        if not rows:
            raise ConfigError(
                f"crisis_mmd: no row of the split {split} can be used: "
                f"{summary(contents.defects) or 'its list is empty'}."
            )
    ids = {row.name: number for number, row in enumerate(contents.listed)}

    def read(split: str, place: int) -> records.Pair:
        row = by_split[split][place]
        return records.Pair((contents.pictures / row.picture).read_bytes(), row.text)

    records.write(
        data_dir, name, {split: _columns(rows, ids) for split, rows in by_split.items()}, read
    )


def _columns(rows: list[Row], ids: dict[str, int]) -> dict[str, list[Any]]:
    """Returns the columns beside the records: labels of both modalities stay as they were named."""
    return {
        "id": [ids[row.name] for row in rows],
        "name": [row.name for row in rows],
        "group": [row.group for row in rows],
        **{
            column: [row.labels.get(column, "") for row in rows]
            for column in ("label", "text", "image")
        },
    }


def _labels(columns: Mapping[str, Sequence[Any]], choice: Choice) -> Any:
    names = (
        dict(label=a, text=b, image=c)
        for a, b, c in zip(*(columns[column] for column in ("label", "text", "image")), strict=True)
    )
    return np.array([choice.index_of(labels) for labels in names], np.int32)
