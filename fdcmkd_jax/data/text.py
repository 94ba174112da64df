"""Texts on the host: token ids of a trained tokenizer, or hashed words and letters."""

import re
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, UInt8

from fdcmkd_jax.data.base import Example, Preprocessing
from fdcmkd_jax.models.bert import PADDING
from fdcmkd_jax.registry import ConfigError

Encode = Callable[[str], Example]
"""Makes raw arrays of a text, by name."""


class Tokens:
    """Makes ``{"ids": int32 [L]}`` of a text: cut to L tokens, or padded with 0 at the end.

    Truncation and padding that the file states are not used.

    Args:
        path: A ``tokenizer.json``, or a folder that holds one.
        length: L, at least 2, the tokens at both ends of a text included.

    Raises:
        ConfigError: If the file or the package that reads it is missing, the file is no tokenizer,
            or its padding token does not have the id 0.
        ValueError: If the length is less than 2.
    """

    def __init__(self, path: str, length: int) -> None:
        if length < 2:
            raise ValueError(f"the length of a text must be at least 2 tokens, got {length}.")
        self._path, self.length = _tokenizer_file(path), length
        padding = self._tokenizer.token_to_id("[PAD]")
        if padding != PADDING:
            raise ConfigError(
                f"{self._path}: the id of the token [PAD] is {padding}; expected {PADDING}."
            )

    def __call__(self, text: str) -> Example:
        """Encodes a text."""
        return {"ids": np.array(self._tokenizer.encode(text).ids, np.int32)}

    def __getstate__(self) -> dict[str, Any]:
        """Returns what a worker process needs: it reads the file again."""
        return {"_path": self._path, "length": self.length}

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            import tokenizers
        except ModuleNotFoundError:
            raise ConfigError(
                "token ids need the package tokenizers: pip install 'fdcmkd-jax[text]'."
            ) from None
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(self._path))
        except Exception as error:  # Its Rust core raises a plain Exception.
            raise ConfigError(f"{self._path} is not a readable tokenizer ({error}).") from error
        tokenizer.enable_truncation(self.length, strategy="longest_first", direction="right")
        tokenizer.enable_padding(
            direction="right", pad_id=PADDING, pad_type_id=0, pad_token="[PAD]", length=self.length
        )
        return tokenizer

    @property
    def preprocessing(self) -> Preprocessing:
        """The device's stage: ids are the input of a model."""
        return of_tokens(self.length)


class Grams:
    """Makes ``{"grams": uint8 [D]}``: the set of words and of three letters in a row, hashed.

    Args:
        size: D.

    Raises:
        ValueError: If the size is not positive.

    Examples:
        >>> Grams(4096)("A cat").values()
        dict_values([array([0, 0, 0, ..., 0, 0, 0], shape=(4096,), dtype=uint8)])
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"the number of hashed features must be positive, got {size}.")
        self.size = size

    def __call__(self, text: str) -> Example:
        """Encodes a text; letters are taken as lower case, and ``#`` marks the ends of a word."""
        grams: UInt8[np.ndarray, " D"] = np.zeros(self.size, np.uint8)
        for word in re.findall(r"\w+", text.lower()):
            marked = f"#{word}#"
            parts = {word, *(marked[start : start + 3] for start in range(len(marked) - 2))}
            grams[[zlib.crc32(part.encode()) % self.size for part in parts]] = 1
        return {"grams": grams}

    @property
    def preprocessing(self) -> Preprocessing:
        """The device's stage: vectors of length 1."""
        return of_grams(self.size)


def of_tokens(length: int) -> Preprocessing:
    """Makes the preprocessing of ``ids [N, L]``, int32, which changes nothing."""
    return Preprocessing({"ids": ((length,), "int32")}, _ids, {"length": length})


def of_grams(size: int) -> Preprocessing:
    """Makes the preprocessing of ``grams [N, D]``, uint8, to float32 vectors of length 1."""
    return Preprocessing({"grams": ((size,), "uint8")}, _unit_length, {"size": size})


def _ids(raw: Any) -> Int32[Array, "N L"]:
    return jnp.asarray(raw["ids"])


def _unit_length(raw: Any) -> Array:
    x = jnp.asarray(raw["grams"]).astype(jnp.float32)
    return x / jnp.maximum(jnp.sqrt(jnp.sum(x, axis=-1, keepdims=True)), 1)


def _tokenizer_file(path: str) -> Path:
    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise ConfigError(
            f"there is no tokenizer {file}; set data.tokenizer to a tokenizer.json, or to the "
            "folder of an imported BERT."
        )
    return file
