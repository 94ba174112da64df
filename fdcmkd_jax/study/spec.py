"""Data classes of a study: its arms, its seeds and its cells."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One setting of the config.

    Attributes:
        name: Its key in the study file and the name of its folder.
        label: Its name in tables and figures.
        presets: Presets of the config file, joined by commas.
        overrides: Values by dotted config key, set after the presets.
        controls: Names of arms that lack the ingredient this arm is meant to test.
    """

    name: str
    label: str
    presets: str
    overrides: Mapping[str, Any]
    controls: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """The contents of a study file.

    Attributes:
        title: Title of the page.
        question: The question that the study answers, in words.
        config: The config file.
        seeds: Number of seeds; the seeds are 0 to ``seeds - 1``.
        baseline: The arm that the others are compared with; it trains the teachers of all arms.
        margin: Equivalence margin in percentage points of the primary metric, fixed before the
            study is run.
        learning_rates: Every arm is trained at each of these rates and keeps the one that is best
            on validation; empty to train at the config's rate only.
        arms: Arms by name, in the order of the file.
    """

    title: str
    question: str
    config: Path
    seeds: int
    baseline: str
    margin: float
    learning_rates: tuple[float, ...]
    arms: Mapping[str, Arm]

    def on(self, config: Path | None, presets: str, overrides: Mapping[str, Any]) -> "Study":
        """Returns the same study of another config.

        Args:
            config: A config file; None for the study's own.
            presets: Presets for every arm, joined by commas, applied before the arm's own.
            overrides: Values for every arm by dotted config key, set before the arm's own.
        """
        arms = {
            name: replace(
                arm,
                presets=",".join(filter(None, (presets, arm.presets))),
                overrides={**overrides, **arm.overrides},
            )
            for name, arm in self.arms.items()
        }
        title = f"{self.title}: {config.stem}" if config else self.title
        return replace(self, title=title, config=config or self.config, arms=arms)

    def fixed_settings(self) -> dict[str, Any]:
        """Returns the settings that must not change between two calls on one workdir.

        Labels, texts and the number of seeds may change, and arms may be added.
        """
        arms = {
            arm.name: {
                "presets": arm.presets,
                "overrides": dict(arm.overrides),
                "controls": list(arm.controls),
            }
            for arm in self.arms.values()
        }
        return {
            "config": self.config.name,
            "baseline": self.baseline,
            "margin": self.margin,
            "learning_rates": list(self.learning_rates),
            "arms": arms,
        }


@dataclass(frozen=True)
class Cell:
    """One arm at one seed, and at one learning rate if the study tunes the rate."""

    arm: str
    seed: int
    learning_rate: float | None = None

    @property
    def folder(self) -> str:
        """Its folder below the workdir."""
        rate = "" if self.learning_rate is None else f"rate{self.learning_rate:g}/"
        return f"cells/{self.arm}/{rate}seed{self.seed}"

    def __str__(self) -> str:
        rate = "" if self.learning_rate is None else f", learning rate {self.learning_rate:g}"
        return f"{self.arm}{rate}, seed {self.seed}"
