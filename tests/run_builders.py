"""Finished runs and studies on disk, made up without training, for tests of what reads them."""

import html.parser
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fdcmkd_jax.config import Direction
from fdcmkd_jax.study.spec import Cell

TERMS = ("task", "low", "high")
HEADS = ("align_low", "align_high")
CLASSES = ("zero", "one", "two")
PER_CLASS = 6
METRICS = {
    "primary": "accuracy",
    "labels": {"accuracy": "accuracy", "macro_f1": "macro F1", "recall": "recall"},
}
STEPS = range(10, 60, 10)


def make_run(
    workdir: pathlib.Path,
    *,
    modalities=("audio", "image"),
    directions=("audio->image", "image->audio"),
    class_names=CLASSES,
    widths=None,
    config=None,
) -> pathlib.Path:
    """Writes the files of a finished run: teachers reach an accuracy of 0.5, students of 0.75."""
    random = np.random.RandomState(0)
    widths = widths or {}
    teachers = {
        name: make_model(
            workdir / "teachers" / name, random, class_names, widths.get(name, 8), ("task",), 0.5
        )
        for name in modalities
    }
    students = {}
    for direction in directions:
        teacher, modality = direction.split("->")
        folder = workdir / "students" / f"{teacher}-to-{modality}"
        width = widths.get(modality, 8)
        students[direction] = make_model(folder, random, class_names, width, TERMS, 0.75)
    results = {
        "seed": 3,
        "class_names": list(class_names),
        "metrics": METRICS,
        "teachers": teachers,
        "students": students,
    }
    defaults = {
        "seed": 3,
        "data": {"name": "toy"},
        "method": {"name": "fd_cmkd", "cutoff": 0.5},
        "weights": {"task": 1.0, "low": 10.0, "high": 10.0},
    }
    write_json(workdir / "results.json", results)
    write_json(workdir / "config.json", defaults | (config or {}))
    write_json(
        workdir / "environment.json",
        {
            "versions": {"jax": "1.2.3"},
            "devices": ["cpu:0"],
            "command": "python train.py <workdir>",
        },
    )
    return workdir


def make_model(folder, random, class_names, width, terms, accuracy) -> dict[str, Any]:
    """Writes the files of one model and returns its entry in results.json."""
    folder.mkdir(parents=True)
    rows = []
    for step in STEPS:
        values = dict.fromkeys(terms, 1.0 / step)
        heads = {head: {"loss": 1.0, "accuracy": 0.25} for head in HEADS if len(terms) > 1}
        common = {"step": step, "epoch": step / 10, "loss": 1.0, "accuracy": accuracy}
        train = {"split": "train", "learning_rate": 0.1, "terms": values, "gradient_norms": values}
        rows += [common | train, common | {"split": "val", "heads": heads}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = np.repeat(np.arange(len(class_names)), PER_CLASS).astype(np.int32)
    np.savez(
        folder / "test.npz",
        features=random.randn(len(labels), width).astype(np.float32),
        labels=labels,
        predictions=labels,
        id=np.arange(len(labels), dtype=np.int32),
    )
    split = {"accuracy": accuracy, "macro_f1": accuracy - 0.05, "loss": 1.0}
    return {
        "selected_step": 20,
        "selection": "highest val accuracy",
        "val": split,
        "test": split,
        "last": {"step": 50, "test": {"accuracy": 0.625, "loss": 1.0}},
        "heads": {
            head: {"val": {"accuracy": 0.25, "loss": 1.0}, "test": {"accuracy": 0.375, "loss": 1.0}}
            for head in HEADS
            if len(terms) > 1
        },
        "confusion": (PER_CLASS * np.eye(len(class_names), dtype=int)).tolist(),
        "by_class": {"recall": np.linspace(0, 1, len(class_names)).tolist()},
        "seconds": 12.3,
    }


def write_json(path, tree) -> None:
    path.write_text(json.dumps(tree))


class Tags(html.parser.HTMLParser):
    """All start tags of a page with their attributes, and its text; fails if tags do not nest."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


DIRECTIONS = ("audio->image", "image->audio")


def put_cell(
    workdir: pathlib.Path,
    cell: Cell,
    accuracies: Mapping[str, float],
    *,
    val: float = 0.5,
    test_rows: Sequence[tuple[float, float]] = (),
    unmeasured: Sequence[str] = (),
) -> None:
    """Writes the files of a finished cell; the last step's accuracy is lower by 0.1.

    Args:
        workdir: The study's folder.
        cell: The cell.
        accuracies: Test accuracies by direction, as shares of 1.
        val: Validation accuracy in every direction.
        test_rows: Test accuracies ``(main, head)`` by epoch, if the run selected by them.
        unmeasured: Terms without gradient norms.
    """
    folder = workdir / cell.folder
    entries = {
        direction: {
            "selected_step": 20,
            "val": {"accuracy": val},
            "test": {"accuracy": accuracy},
            "last": {"test": {"accuracy": accuracy - 0.1}},
        }
        for direction, accuracy in accuracies.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [
        {"split": "test", "step": step, "accuracy": main, "heads": {"low": {"accuracy": head}}}
        for step, (main, head) in enumerate(test_rows)
    ]
    norms = {"task": 3.0, "low": 1.0, "high": 2.0}
    for step in (10, 20):
        rows.append(
            {
                "split": "train",
                "step": step,
                "terms": {"task": 1.0, "low": 0.1, "high": 0.1},
                "gradient_norms": {k: v for k, v in norms.items() if k not in unmeasured},
            }
        )
    for direction in entries:
        model = folder / Direction.parse(direction).folder
        model.mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (model / "metrics.jsonl").write_text(text, encoding="utf-8")
    weights = {"task": 1.0} if cell.arm == "none" else {"task": 1.0, "low": 10.0, "high": 20.0}
    select_split = "test" if test_rows else "val"
    write_json(
        folder / "config.json",
        {"evaluate": {"select_split": select_split}, "weights": weights},
    )
    teachers = {"audio": {"test": {"accuracy": 0.8}}}
    results = {"metrics": METRICS, "students": entries, "teachers": teachers}
    write_json(folder / "results.json", results)


def put_cells(
    workdir: pathlib.Path, accuracies: Mapping[str, Sequence[float]], **options: Any
) -> None:
    """Writes cells of one direction.

    Args:
        workdir: The study's folder.
        accuracies: Test accuracies in percent by arm, one per seed.
        **options: Options of `put_cell`.
    """
    for arm, values in accuracies.items():
        for seed, value in enumerate(values):
            put_cell(workdir, Cell(arm, seed), {DIRECTIONS[0]: value / 100}, **options)


GOOD = {
    "none": [80.0, 81.0, 82.0],
    "fd_cmkd": [85.0, 86.1, 86.9],
    "mismatched": [80.0, 80.9, 82.1],
    "relabelled": [84.9, 86.0, 87.1],
}
"""Accuracies in percent by arm: FD-CMKD beats the baseline and equals one of its controls."""
