"""Lists of CrisisMMD: tab-separated files with one picture of a tweet a row."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from fdcmkd_jax.data.clips import lists
from fdcmkd_jax.data.clips.clip_set import Defect
from fdcmkd_jax.registry import ConfigError, check_choice

TaskName = Literal["humanitarian", "informative", "damage"]
Lists = Literal["agreed", "all"]
Target = Literal["label", "text", "image"]

HUMANITARIAN = (
    "affected_individuals",
    "infrastructure_and_utility_damage",
    "injured_or_dead_people",
    "missing_or_found_people",
    "not_humanitarian",
    "other_relevant_information",
    "rescue_volunteering_or_donation_effort",
    "vehicle_damage",
)
OTHERS: Mapping[str, tuple[str, ...]] = {
    "informative": ("not_informative", "informative"),
    "damage": ("little_or_no_damage", "mild_damage", "severe_damage"),
}
_PEOPLE = dict.fromkeys(HUMANITARIAN[2:4], "affected_individuals")
MERGED: Mapping[int, Mapping[str, str]] = {
    8: {},
    6: _PEOPLE,
    5: {**_PEOPLE, "vehicle_damage": "infrastructure_and_utility_damage"},
}
"""The classes that are merged into others, by the number that is left; 5 is the data set's rule."""

SPLITS = {"train": "train", "val": "dev", "test": "test"}
COLUMNS = {"label": "label", "text": "label_text", "image": "label_image"}

LAYOUT = (
    "the unpacked CrisisMMD v2.0 (CrisisNLP): a folder with data_image/, and "
    "crisismmd_datasplit_agreed_label/ or crisismmd_datasplit_all/, in it or in a folder of it"
)

_AGREED: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "humanitarian": {
        "train": (71, 612, 3252, 1279, 912),
        "val": (9, 80, 521, 239, 149),
        "test": (9, 81, 504, 235, 126),
    },
    "informative": {"train": (3256, 6345), "val": (517, 1056), "test": (504, 1030)},
}
_ALL = {"train": (13_608,), "val": (2237,), "test": (2237,)}


class Row(NamedTuple):
    """A picture with the text of its tweet.

    Attributes:
        name: The picture's id.
        label: Index of the class that is learned.
        split: ``train``, ``val`` or ``test``.
        group: The tweet's id.
        text: The tweet.
        picture: The picture's file, relative to the folder that holds ``data_image``.
        labels: Names of the classes by column, as listed: ``label``, ``text`` and ``image``.
    """

    name: str
    label: int
    split: str
    group: str
    text: str
    picture: str
    labels: Mapping[str, str]


class Choice(NamedTuple):
    """A task of the data set, and the rows and labels that stand for it.

    Attributes:
        task: ``"humanitarian"``, ``"informative"`` or ``"damage"``.
        lists: ``"agreed"``, rows whose text and picture were given the same label, or ``"all"``.
        classes: Classes of the humanitarian task: 5, 6 or 8; see `MERGED`.
        target: The column that is learned: ``"label"``, or that of the ``"text"`` or ``"image"``.
    """

    task: TaskName = "humanitarian"
    lists: Lists = "agreed"
    classes: int = 5
    target: Target = "label"

    def check(self) -> None:
        """Raises ValueError if the files do not hold this choice."""
        for name, value, choices in (
            ("task", self.task, TaskName),
            ("lists", self.lists, Lists),
            ("target", self.target, Target),
        ):
            check_choice(name, value, choices)
        if self.classes not in MERGED:
            raise ValueError(f"classes must be one of {sorted(MERGED)}, got {self.classes}.")
        if self.task == "damage" and (self.lists, self.target) != ("all", "label"):
            raise ValueError("damage is labeled for pictures alone; use lists=all, target=label.")
        if self.lists == "agreed" and self.target != "label" and self.classes != 5:
            raise ValueError(
                "the agreed lists hold more than 5 classes in the column label only; "
                f"use target=label, got {self.target!r}."
            )

    @property
    def name(self) -> str:
        """Its name, part of the records' folder, which does not depend on the labels."""
        return f"{self.task}_{self.lists}"

    @property
    def listed_names(self) -> tuple[str, ...]:
        """The classes that a list may name."""
        return HUMANITARIAN if self.task == "humanitarian" else OTHERS[self.task]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the labels: that of the alphabet, if merged."""
        merged = MERGED[self.classes] if self.task == "humanitarian" else {}
        return tuple(name for name in self.listed_names if name not in merged)

    @property
    def counts(self) -> Mapping[str, Sequence[int]]:
        """The documented number of rows of each class by split; their total; or nothing."""
        if self.task == "damage":
            return dict.fromkeys(SPLITS, ())
        if self.lists == "all":
            return _ALL
        counts = _AGREED[self.task]
        if self.task == "informative" or self.classes == 5:
            return counts
        return {split: (sum(rows),) for split, rows in counts.items()}

    def index_of(self, labels: Mapping[str, str]) -> int:
        """Returns the index of a row's class; raises ValueError if its name is unknown."""
        name = labels[self.target]
        if self.task == "humanitarian":
            name = MERGED[self.classes].get(name, name)
        return self.class_names.index(name)

    def file_name(self, split: str) -> str:
        """Returns the name of a list."""
        agreed = "_agreed_lab" if self.lists == "agreed" else ""
        return f"task_{self.task}_text_img{agreed}_{SPLITS[split]}.tsv"


def find(folder: Path, name: str) -> Path:
    """Finds a list, or the folder of the pictures, in the user's folder or three levels below.

    Raises:
        ConfigError: If it is not there.
    """
    for place, folders, _ in os.walk(folder):
        path = Path(place)
        if (path / name).exists():
            return path / name
        deep = len(path.relative_to(folder).parts) >= 3
        skipped = {"data_image", "__MACOSX"}
        folders[:] = [] if deep else sorted(set(folders) - skipped)
    raise ConfigError(f"{folder} holds no {name}; data.manual_dir of crisis_mmd must be {LAYOUT}.")


def read_lists(folder: Path, choice: Choice) -> tuple[list[Row], list[Defect]]:
    """Reads the lists of a choice.

    Args:
        folder: The user's folder.
        choice: The task, rows and labels.

    Returns:
        The rows in the order of the lists, each picture once and each tweet in one split; and the
        rows that cannot be used.

    Raises:
        ConfigError: If a list is missing, or has other columns than documented.
    """
    texts = _texts(folder) if choice.task == "damage" else {}
    rows, defects = lists.part_repeated(
        item
        for split in SPLITS
        for item in _rows(find(folder, choice.file_name(split)), split, choice, texts)
    )
    split_of: dict[str, str] = {}
    kept = []
    for row in rows:
        split = split_of.setdefault(row.group, row.split)
        if split == row.split:
            kept.append(row)
        else:
            detail = f"its tweet {row.group} is in the {split} list, too"
            defects.append(Defect("id in two splits", row.name, detail))
    return kept, defects


def _rows(
    path: Path, split: str, choice: Choice, texts: Mapping[str, str]
) -> Iterator[Row | Defect]:
    # Tweets hold quotes that nothing closes: read as quoting, they would change the text.
    listed = lists.rows(path, delimiter="\t", quotes=False)
    _, header = next(listed, ("", []))
    columns = {name.strip().lower(): place for place, name in enumerate(header)}
    needed = {"image_id", "image", "label"}
    if choice.task != "damage":
        needed |= {"tweet_text", *COLUMNS.values()}
    if not needed <= set(columns):
        raise ConfigError(
            f"{path} has the columns {', '.join(columns) or 'none'}; expected "
            f"{', '.join(sorted(needed))} among them."
        )
    for place, values in listed:
        if len(values) != len(header):
            detail = f"{len(values)} columns, expected {len(header)}"
            yield Defect("malformed row", place, detail)
            continue
        yield _row({name: values[i] for name, i in columns.items()}, place, split, choice, texts)


def _row(
    values: Mapping[str, str], place: str, split: str, choice: Choice, texts: Mapping[str, str]
) -> Row | Defect:
    name, picture = values["image_id"], PurePosixPath(values["image"])
    if picture.is_absolute() or ".." in picture.parts or picture.parts[:1] != ("data_image",):
        return Defect("malformed row", place, f"the picture {str(picture)!r} is not in data_image/")
    labels = {key: values.get(column, "") for key, column in COLUMNS.items()}
    labels = {key: label for key, label in labels.items() if label}
    unknown = [label for label in labels.values() if label not in choice.listed_names]
    if unknown or choice.target not in labels:
        return Defect("unknown label", name, f"{place}: {(unknown or [''])[0]!r} is no class")
    if choice.lists == "agreed":
        merged = {MERGED[5].get(label, label) for label in labels.values()}
        if len(merged) > 1:
            return Defect("wrong label", name, f"{place}: {' and '.join(sorted(merged))}")
    group = values.get("tweet_id") or name.rpartition("_")[0]
    text = values.get("tweet_text") or texts.get(group, "")
    if not text.strip():
        return Defect("no text", name, f"{place}: there is no text of tweet {group}")
    return Row(name, choice.index_of(labels), split, group, text, str(picture), labels)


def _texts(folder: Path) -> dict[str, str]:
    """Returns the texts of all tweets; lists of damage may come without them."""
    choice = Choice("informative", "all")
    rows, _ = lists.part_repeated(
        item
        for split in SPLITS
        for item in _rows(find(folder, choice.file_name(split)), split, choice, {})
    )
    return {row.group: row.text for row in rows}
