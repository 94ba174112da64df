"""Reads the files of a finished run into typed records."""

import dataclasses
import json
import math
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.log import read_rows

LABEL_TERMS = ("task", "auxiliary")
"""Loss terms that read no teacher."""


class RunError(ConfigError):
    """The workdir does not hold a finished run; the message is one line."""


class Metrics(NamedTuple):
    """Metrics of a run, as its task defines them.

    Attributes:
        primary: The metric that selected the steps.
        labels: Names on the page by metric, of all metrics that the page shows. They are shares in
            [0, 1], shown in percent.
    """

    primary: str
    labels: Mapping[str, str]

    @property
    def label(self) -> str:
        """The name of the primary metric."""
        return self.labels[self.primary]


class ClassMaps(NamedTuple):
    """Pixels of the test split and their classes, thinned, of a task that labels pixels.

    Attributes:
        label_map: ``[N, h, w]`` uint8, the labels.
        predicted_map: ``[N, h, w]`` uint8, the selected checkpoint's predictions.
        picture: ``[N, H, W, C]`` uint8, the inputs, C 1 or 3; None if they are no pictures.
    """

    label_map: UInt8[np.ndarray, "N h w"]
    predicted_map: UInt8[np.ndarray, "N h w"]
    picture: UInt8[np.ndarray, "N H W C"] | None = None


class Examples(NamedTuple):
    """Features of the test split under the selected checkpoint.

    Attributes:
        features: ``[N, D]`` float32, the features that distillation compares.
        labels: ``[N]`` int32, the true classes.
        id: ``[N]`` int32, a number per example that is the same for all models of a run.
    """

    features: Float[np.ndarray, "N D"]
    labels: Int[np.ndarray, " N"]
    id: Int[np.ndarray, " N"]

    def take(self, rows: Int[np.ndarray, " n"]) -> "Examples":
        """Returns the examples at the positions ``rows``, shape ``[n]``."""
        return Examples(*(field[rows] for field in self))


@dataclasses.dataclass(frozen=True)
class Model:
    """One trained network: a teacher (trained alone) or a student.

    Attributes:
        modality: The modality of its inputs, such as ``"image"``.
        teacher: The modality of its teacher; None for a teacher.
        entry: Its entry in results.json.
        train: Its training rows of metrics.jsonl by rising step; empty if there are none.
        held_out: Its rows of the split that selected the step, by rising step.
        test: Its features on the test split; None if they are missing or not stored.
        select_split: The split that selected the step: ``"val"`` or ``"test"``.
        maps: Its predictions of pixels on the test split; None if there are none.
    """

    modality: str
    teacher: str | None
    entry: Mapping[str, Any]
    train: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    test: Examples | None
    select_split: str = "val"
    maps: ClassMaps | None = None

    @property
    def loaded(self) -> bool:
        """Whether an earlier run trained it and this run only evaluated it."""
        return "loaded_from" in self.entry

    @property
    def label(self) -> str:
        """Its name on the page, unique in a run."""
        if self.teacher is None:
            return f"teacher {self.modality}"
        return f"student {self.teacher} → {self.modality}"

    def value(self, *keys: str) -> float:
        """Returns the number under nested keys of its entry; see `lookup`."""
        return lookup(self.entry, *keys)


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run with its teachers by modality and its students in order."""

    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    seed: int
    class_names: list[str]
    metrics: Metrics
    teachers: dict[str, Model]
    students: list[Model]

    @property
    def models(self) -> list[Model]:
        """The teachers, then the students."""
        return [*self.teachers.values(), *self.students]

    def score(self, model: Model, *keys: str) -> float:
        """Returns a model's primary metric under nested keys of its entry; NaN if it has none."""
        return model.value(*keys, self.metrics.primary)

    def teacher_of(self, student: Model) -> Model | None:
        """Returns the teacher of a student; None if it is not in this run."""
        return self.teachers.get(student.teacher or "")

    def alone(self, model: Model) -> Model | None:
        """Returns the model of a student's modality that was trained without a teacher, if any."""
        return self.teachers.get(model.modality) if model.teacher else None

    @property
    def weights(self) -> dict[str, float]:
        """The loss weights of the students, by term."""
        return {term: float(w) for term, w in self.config.get("weights", {}).items()}

    @property
    def distils(self) -> bool:
        """Whether students learn from a teacher: a term that reads the teacher has a weight."""
        return any(weight > 0 for term, weight in self.weights.items() if term not in LABEL_TERMS)

    @property
    def pairing(self) -> str:
        """The pairing of the training examples: ``"true"``, or another in a control."""
        return str(self.config.get("pairing", {}).get("kind", "true"))

    @property
    def method(self) -> str:
        """The name of the distillation method."""
        return str(self.config.get("method", {}).get("name", "unnamed method"))


def lookup(tree: Mapping[str, Any], *keys: str) -> float:
    """Returns the number under nested keys; NaN if there is none.

    Examples:
        >>> lookup({"test": {"accuracy": 0.5}}, "test", "accuracy")
        0.5
    """
    value: Any = tree
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return math.nan if value is None else float(value)


def read(workdir: pathlib.Path) -> Run:
    """Reads a run's workdir.

    Args:
        workdir: The run's folder.

    Returns:
        The run. A model without metrics.jsonl has no rows, a model without test.npz no features.

    Raises:
        RunError: If the folder or a required file is missing, a file cannot be read, or
            results.json lacks a key that every run writes.
    """
    if not workdir.is_dir():
        raise RunError(f"{workdir} is not a folder; pass the workdir of a finished run.")
    results = _read_json(workdir / "results.json")
    config = _read_json(workdir / "config.json")
    select_split = str(config.get("evaluate", {}).get("select_split", "val"))
    try:
        return Run(
            config=config,
            environment=_read_json(workdir / "environment.json"),
            seed=results["seed"],
            class_names=[str(name) for name in results["class_names"]],
            metrics=Metrics(results["metrics"]["primary"], results["metrics"]["labels"]),
            teachers={
                modality: _read_model(
                    workdir / "teachers" / modality, modality, None, entry, select_split
                )
                for modality, entry in results["teachers"].items()
            },
            students=[
                _read_student(workdir, direction, entry, select_split)
                for direction, entry in results["students"].items()
            ],
        )
    except KeyError as error:
        raise RunError(f"{workdir / 'results.json'} lacks the key {error}.") from error


def _read_student(
    workdir: pathlib.Path, direction: str, entry: Mapping[str, Any], select_split: str
) -> Model:
    teacher, _, modality = direction.partition("->")
    folder = workdir / "students" / f"{teacher}-to-{modality}"
    return _read_model(folder, modality, teacher, entry, select_split)


def _read_model(
    folder: pathlib.Path,
    modality: str,
    teacher: str | None,
    entry: Mapping[str, Any],
    select_split: str,
) -> Model:
    rows = read_rows(folder / "metrics.jsonl")
    return Model(
        modality=modality,
        teacher=teacher,
        entry=entry,
        train=[row for row in rows if row["split"] == "train"],
        held_out=[row for row in rows if row["split"] == select_split],
        test=_read_test(folder / "test.npz", Examples),
        select_split=select_split,
        maps=_read_test(folder / "test.npz", ClassMaps),
    )


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunError(f"{path.parent} has no {path.name}: no run has finished there.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path} is not JSON: {error}.") from error


def _read_test(path: pathlib.Path, kind: Any) -> Any:
    """Reads the arrays that a tuple names; None if one without a default is not there."""
    if not path.is_file():
        return None
    try:
        # Opened here, because np.load leaves the file open if it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            # The task decides what is stored.
            if not set(kind._fields) - set(kind._field_defaults) <= set(arrays.files):
                return None
            return kind(**{name: arrays[name] for name in kind._fields if name in arrays.files})
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"cannot read the features in {path}: {error}.") from error
