"""Generated tweets and pictures in the files of CrisisMMD, to try the whole path."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fdcmkd_jax.data.clips.generate import make_pictures, split_counts
from fdcmkd_jax.data.crisis_mmd.lists import Choice
from fdcmkd_jax.registry import ConfigError

HEADER = (
    *("event_name", "tweet_id", "image_id", "tweet_text", "image"),
    *("label", "label_text", "label_image", "label_text_image"),
)
EVENT = "generated_event"
COMMON = ("rt", "the", "in", "after", "now", "people", "today", "storm", "\u00e0", "\U0001f30a")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def generate(choice: Choice, folder: Path, count: int) -> Path:
    """Writes lists, pictures and a ``tokenizer.json`` in the layout of the set, once.

    A tweet has words of its class among common ones, a picture the stripes of its class. Some
    tweets open with a quote that nothing closes, every fifth has two pictures (in training), every
    seventh picture is a PNG file.

    Args:
        choice: The task, rows and labels.
        folder: Folder of generated sets.
        count: Training rows of each class; the other splits have half as many.

    Returns:
        The folder to use as ``manual_dir``.

    Raises:
        ValueError: If ``count`` is not positive.
        ConfigError: If the package that writes tokenizers is missing.
    """
    if count < 1:
        raise ValueError(f"the number of generated rows must be positive, got {count}.")
    complete = folder / f"crisis_mmd_{choice.name}_{choice.classes}_{count}"
    if complete.is_dir():
        return complete
    unfinished = complete.with_name(f"unfinished_{complete.name}_{os.getpid()}")
    write_tree(unfinished, choice, count)
    try:
        unfinished.rename(complete)
    except OSError:  # Another process was faster.
        shutil.rmtree(unfinished)
    return complete


def write_tree(folder: Path, choice: Choice, count: int) -> None:
    """Writes the files of `generate`."""
    kind = "agreed_label" if choice.lists == "agreed" else "all"
    words: set[str] = set(COMMON)
    tweet = 0
    for split, rows in split_counts(count, "val", "test").items():
        lines = ["\t".join(HEADER)]
        for number in range(rows * len(choice.class_names)):
            label = number % len(choice.class_names)
            tweet += not (split == "train" and number % 5 == 4)
            text, used = _tweet(tweet, label)
            words |= used
            name = f"{917_000_000_000_000_000 + tweet}_{number}"
            suffix = ".png" if number % 7 == 6 else ".jpg"
            picture = f"data_image/{EVENT}/10_10_2017/{name}{suffix}"
            _write_picture(folder / picture, name, label)
            class_name = choice.class_names[label]
            labels = (class_name, class_name, class_name, "Positive")
            lines.append("\t".join((EVENT, name.split("_")[0], name, text, picture, *labels)))
        path = folder / f"crisismmd_datasplit_{kind}" / choice.file_name(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_tokenizer(folder / "tokenizer.json", sorted(words))


def write_tokenizer(path: Path, words: Sequence[str]) -> None:
    """Writes a tokenizer of whole words, lower case, with BERT's tokens at both ends.

    Args:
        path: The file to write.
        words: The words that it knows.

    Raises:
        ConfigError: If the package tokenizers is missing.
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    except ModuleNotFoundError:
        raise ConfigError(
            "tokenizers are written by the package tokenizers: pip install 'fdcmkd-jax[text]'."
        ) from None
    vocabulary = {name: number for number, name in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = (("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.save(str(path))


def _tweet(number: int, label: int) -> tuple[str, set[str]]:
    """Returns the text of a tweet, and its words."""
    random = np.random.default_rng([number, label])
    own = [f"word{label}x{random.integers(6)}" for _ in range(3)]
    words = [*own, *random.choice(COMMON, size=6)]
    random.shuffle(words)
    text = " ".join(words)
    return (f'"{text}' if number % 3 == 0 else text), set(own)


def _write_picture(path: Path, name: str, label: int) -> None:
    pixels = make_pictures(label, np.random.default_rng(list(name.encode())))[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
