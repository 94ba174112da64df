"""A small study file, and what it says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fdcmkd_jax.report import style
from fdcmkd_jax.study import Study
from fdcmkd_jax.study.reading import read

ROOT = Path(__file__).parents[2]
TEXT = f"""
title = "Toy"
question = "Does it work?"
config = "{ROOT / "configs" / "av_digits.py"}"
seeds = 3
baseline = "none"
margin = 1.0

[arms.none]
label = "no distillation"
presets = "none"

[arms.fd_cmkd]
label = "FD-CMKD"
controls = ["mismatched", "relabelled"]

[arms.mismatched]
presets = "mismatched"

[arms.relabelled]
presets = "relabelled"
"""


@pytest.fixture
def file(tmp_path) -> Path:
    """A study file of four arms and three seeds."""
    path = tmp_path / "toy.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def toy(file) -> Study:
    """The study of that file."""
    return read(file)


@pytest.fixture
def change(file) -> Callable[[str, str], Study]:
    """A function that replaces a text of the file, and returns the study it then describes."""

    def replace(old: str, new: str) -> Study:
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        return read(file)

    return replace


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leaves figures empty: drawing them takes seconds, and most tests read only the text."""
    monkeypatch.setattr(style, "data_uri", lambda figure: "data:,")
