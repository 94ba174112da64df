"""Lists of clips: text files with a clip a row."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet, Defect, Listing
from fdcmkd_jax.registry import ConfigError


def require(clip_set: ClipSet, folder: Path, *names: str) -> None:
    """Checks that files and folders are in the user's folder.

    Raises:
        ConfigError: If one is missing.
    """
    for name in names:
        if not (folder / name).exists():
            raise ConfigError(
                f"{folder} holds no {name}; data.manual_dir of {clip_set.name} must be "
                f"{clip_set.layout}."
            )


def require_one(clip_set: ClipSet, folder: Path, *names: str) -> None:
    """Checks that one of several files or folders is in the user's folder.

    Raises:
        ConfigError: If none is.
    """
    if not any((folder / name).exists() for name in names):
        require(clip_set, folder, names[0])


def names_in(folder: Path) -> set[str]:
    """Returns the names in a folder; none if there is no such folder."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def rows(path: Path, *, delimiter: str = ",") -> Iterator[tuple[str, list[str]]]:
    """Yields each row with its place, ``train.csv:12``; empty lines are left out.

    Raises:
        ConfigError: If the file is not text.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            for row in (reader := csv.reader(file, delimiter=delimiter)):
                if row:
                    yield f"{path.name}:{reader.line_num}", row
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"cannot read {path}: {error}.") from error


def malformed(place: str, row: list[str], expected: str) -> Defect:
    """Makes the defect of a row that is not what it should be."""
    return Defect("malformed row", place, f"{','.join(row)!r:.80} is not like {expected!r}")


def without_repetition(items: Iterable[Clip | Defect]) -> Listing:
    """Parts clips from defects, and from clips whose name an earlier row has."""
    first: dict[str, Clip] = {}
    defects = []
    for item in items:
        if isinstance(item, Defect):
            defects.append(item)
            continue
        earlier = first.setdefault(item.name, item)
        if earlier is item:
            continue
        if earlier.split == item.split:
            defects.append(Defect("duplicate id", item.name, f"twice in the {item.split} list"))
        else:
            detail = f"in the {earlier.split} and the {item.split} list"
            defects.append(Defect("id in two splits", item.name, detail))
    return Listing(list(first.values()), defects)
