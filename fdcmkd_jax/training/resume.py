"""The step from which models that train together continue: the latest that all have saved."""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.checkpoint import Checkpoints
from fdcmkd_jax.training.state import TrainState


def can_continue_together(saved: Sequence[set[int]]) -> bool:
    """Returns whether models can continue from one step.

    Models that trained together have a saved step in common wherever they were cut off, or none has
    more than its first. Models that trained one by one may have none.

    Args:
        saved: The saved steps of each model.
    """
    return bool(set.intersection(*saved)) or all(len(steps) <= 1 for steps in saved)


def restore_together(
    checkpoints: Mapping[str, Checkpoints], like: Mapping[str, TrainState]
) -> tuple[dict[str, TrainState], dict[str, Any]] | None:
    """Restores the latest step that all models have saved and that can be read.

    Later checkpoints are deleted, unreadable ones with a warning: training reaches their steps
    again.

    Args:
        checkpoints: Those of each model, by name.
        like: States of the same structure, by name.

    Returns:
        The states as host arrays, with the progress of the model that took longest; None if there
        is no common step.

    Raises:
        ConfigError: If there are common steps, but none can be read.
    """
    common = set.intersection(*(saved.steps for saved in checkpoints.values()))
    for step in sorted(common, reverse=True):
        try:
            restored = {
                name: saved.restore(step, like[name]) for name, saved in checkpoints.items()
            }
        except ConfigError as error:
            logging.warning("%s Falling back to the checkpoint before it.", error)
            continue
        for saved in checkpoints.values():
            saved.drop_after(step)
        states = {name: state for name, (state, _) in restored.items()}
        progress = max((part for _, part in restored.values()), key=lambda part: part["seconds"])
        return states, progress
    if common:
        folders = " and ".join(str(saved.directory) for saved in checkpoints.values())
        raise ConfigError(
            f"no checkpoint under {folders} can be read; delete that folder to train anew."
        )
    for saved in checkpoints.values():
        saved.drop_after(0)
    return None
