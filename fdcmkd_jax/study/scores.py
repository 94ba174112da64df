"""Scores of finished cells: the primary metric of their task."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fdcmkd_jax.config import Direction
from fdcmkd_jax.study.cell_config import teacher_cell
from fdcmkd_jax.study.spec import Cell, Study
from fdcmkd_jax.training.log import read_json, read_rows


@dataclass(frozen=True)
class Score:
    """The primary metric of one student of one cell, in percent.

    Attributes:
        val: On the validation split, of the selected checkpoint.
        test: On the test split, of the checkpoint selected on validation; of the last step if the
            run selected its checkpoint on the test split.
        last: On the test split, of the last step.
        step: The selected step.
        optimistic: The best of any epoch and head on the test split, which is how the public code
            selects; None if the log has no test rows.
    """

    val: float
    test: float
    last: float
    step: int
    optimistic: float | None


Scores = Mapping[int, Mapping[str, Score]]
"""Scores by seed, then by direction."""


def read_scores(cell: Cell, workdir: Path) -> dict[str, Score]:
    """Reads the scores of a finished cell, by direction.

    Raises:
        OSError: If the cell lacks a file that every run writes.
    """
    folder = workdir / cell.folder
    results = read_json(folder / "results.json")
    config = read_json(folder / "config.json")
    selected_on_test = config["evaluate"]["select_split"] == "test"
    primary = results["metrics"]["primary"]
    scores = {}
    for direction, entry in results["students"].items():
        rows = read_rows(folder / Direction.parse(direction).folder / "metrics.jsonl")
        of_epochs = [
            head[primary]
            for row in rows
            if row["split"] == "test"
            for head in (row, *row["heads"].values())
        ]
        last = entry["last"]["test"][primary]
        scores[direction] = Score(
            val=100 * entry["val"][primary],
            test=100 * (last if selected_on_test else entry["test"][primary]),
            last=100 * last,
            step=entry["selected_step"],
            optimistic=100 * max(of_epochs) if of_epochs else None,
        )
    return scores


def choose_rate(study: Study, arm: str, scores: Mapping[Cell, Mapping[str, Score]]) -> float | None:
    """Chooses an arm's learning rate by the mean primary metric on validation.

    Args:
        study: The study.
        arm: The arm.
        scores: By finished cell, then by direction.

    Returns:
        The best of the rates that most seeds have finished; None if the study tunes no rate.
    """
    if not study.learning_rates:
        return None

    def quality(rate: float) -> tuple[int, float]:
        runs = [scores[cell] for cell in scores if (cell.arm, cell.learning_rate) == (arm, rate)]
        values = [score.val for run in runs for score in run.values()]
        return len(runs), float(np.mean(values)) if values else 0.0

    return max(study.learning_rates, key=quality)


def teacher_scores(study: Study, workdir: Path) -> dict[str, dict[int, float]]:
    """Reads the primary metric of the shared teachers on the test split, in percent.

    Returns:
        By modality, then by seed.
    """
    scores: dict[str, dict[int, float]] = {}
    for seed in range(study.seeds):
        path = workdir / teacher_cell(study, seed).folder / "results.json"
        if path.is_file():
            results = read_json(path)
            primary = results["metrics"]["primary"]
            for modality, entry in results["teachers"].items():
                scores.setdefault(modality, {})[seed] = 100 * entry["test"][primary]
    return scores


def metric_label(cells: Iterable[Cell], workdir: Path) -> str:
    """Returns the name of the primary metric, as finished cells state it.

    Args:
        cells: Finished cells, which share their primary metric.
        workdir: The study's folder.

    Returns:
        The name; ``"primary metric"`` if there is no cell.
    """
    for cell in cells:
        metrics = read_json(workdir / cell.folder / "results.json")["metrics"]
        return metrics["labels"][metrics["primary"]]
    return "primary metric"
