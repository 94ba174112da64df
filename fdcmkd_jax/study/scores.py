"""Accuracies of finished cells."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fdcmkd_jax.config import Direction
from fdcmkd_jax.study.cell_config import teacher_cell
from fdcmkd_jax.study.spec import Cell, Study
from fdcmkd_jax.training.log import read_json, read_rows


@dataclass(frozen=True)
class Score:
    """Accuracies of one student of one cell, in percent.

    Attributes:
        val: Validation accuracy of the selected checkpoint.
        test: Test accuracy of the checkpoint selected on validation; of the last step if the run
            selected its checkpoint on the test split.
        last: Test accuracy of the last step.
        step: The selected step.
        optimistic: The best test accuracy of any epoch and head, which is how the public code
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
    scores = {}
    for direction, entry in results["students"].items():
        rows = read_rows(folder / Direction.parse(direction).folder / "metrics.jsonl")
        test_accuracies = [
            head["accuracy"]
            for row in rows
            if row["split"] == "test"
            for head in (row, *row["heads"].values())
        ]
        last = entry["last"]["test"]["accuracy"]
        scores[direction] = Score(
            val=100 * entry["val"]["accuracy"],
            test=100 * (last if selected_on_test else entry["test"]["accuracy"]),
            last=100 * last,
            step=entry["selected_step"],
            optimistic=100 * max(test_accuracies) if test_accuracies else None,
        )
    return scores


def choose_rate(study: Study, arm: str, scores: Mapping[Cell, Mapping[str, Score]]) -> float | None:
    """Chooses an arm's learning rate by mean validation accuracy.

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
        accuracies = [score.val for run in runs for score in run.values()]
        return len(runs), float(np.mean(accuracies)) if accuracies else 0.0

    return max(study.learning_rates, key=quality)


def teacher_accuracies(study: Study, workdir: Path) -> dict[str, dict[int, float]]:
    """Reads the test accuracies of the shared teachers, in percent, by modality and seed."""
    accuracies: dict[str, dict[int, float]] = {}
    for seed in range(study.seeds):
        path = workdir / teacher_cell(study, seed).folder / "results.json"
        if path.is_file():
            for modality, entry in read_json(path)["teachers"].items():
                accuracies.setdefault(modality, {})[seed] = 100 * entry["test"]["accuracy"]
    return accuracies
