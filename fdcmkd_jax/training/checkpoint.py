"""Checkpoints by Orbax: the latest to resume from, the best to use."""

import errno
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.types import Params

UNSCORED = -1.0
"""The score of a checkpoint that may not be selected, below any score."""


class _Held(NamedTuple):
    """A scored state that is not saved yet."""

    step: int
    state: TrainState
    progress: Mapping[str, Any]
    score: float


def _score(metrics: Mapping[str, float]) -> float:
    """Returns the score, minus infinity for NaN, which would break Orbax's ordering."""
    score = metrics["score"]
    return score if math.isfinite(score) else -math.inf


class Checkpoints:
    """One model's checkpoints: the latest few and the best by score.

    A checkpoint has three parts: ``weights`` (the variables, all that a teacher needs),
    ``training`` (the rest of the state) and ``progress`` (the position in the data and other plain
    numbers). Trees are saved as host arrays without a device axis, so any number of devices can
    restore them.
    A save appears under its final name only when it is complete.

    Args:
        directory: Their folder; made on the first save.
        keep_latest: Number of the latest kept beside the best.
    """

    def __init__(self, directory: Path, *, keep_latest: int = 2) -> None:
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep_latest),
                checkpoint_managers.BestN(
                    get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        self._directory = directory
        self._held: _Held | None = None
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                best_fn=_score,
                best_mode="max",
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The last saved step; None if there is none."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step of the highest score, the later of two equal ones; None if none is scored."""
        self.wait()
        step = self._manager.best_step()
        return None if step is None or _score(self._manager.metrics(step)) <= UNSCORED else step

    def hold(
        self, step: int, state: TrainState, progress: Mapping[str, Any], *, score: float
    ) -> None:
        """Holds a state in memory if none before it scored higher; the next `save` saves it, too.

        A process that is killed before then takes its steps again, to the same scores.

        Args:
            step: Number of steps taken.
            state: As host arrays.
            progress: JSON-able.
            score: Higher is better, 0 or more.
        """
        best = self._held.score if self._held else self._best_score()
        if score >= best:
            self._held = _Held(step, state, progress, score)

    def save(
        self, step: int, state: TrainState, progress: Mapping[str, Any], *, score: float | None
    ) -> None:
        """Saves in the background, first the state that is held unless this one scores as high.

        Args:
            step: Number of steps taken; saving a saved step again does nothing.
            state: As host arrays.
            progress: JSON-able.
            score: Higher is better, 0 or more; None for one that may not be chosen as best.
        """
        held, self._held = self._held, None
        if held and held.step < step and (score is None or score < held.score):
            self._save(*held)
        self._save(step, state, progress, score)

    def _save(
        self, step: int, state: TrainState, progress: Mapping[str, Any], score: float | None
    ) -> None:
        # Otherwise a slow save is still deleting old steps when the next one lists them.
        self.wait()
        self._manager.save(
            step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(state.variables),
                training=ocp.args.StandardSave(_training(state)),
                progress=ocp.args.JsonSave(dict(progress)),
            ),
            metrics={"score": UNSCORED if score is None else score},
        )

    def _best_score(self) -> float:
        step = self.best
        return UNSCORED if step is None else _score(self._manager.metrics(step))

    def save_variables(self, step: int, variables: Params) -> None:
        """Saves variables alone, as the best ones, of a model that is used and not trained further.

        Args:
            step: Number of steps they were trained for, 0 or more.
            variables: ``{"params", "batch_stats"}`` as host arrays.
        """
        parts = ocp.args.Composite(weights=ocp.args.StandardSave(dict(variables)))
        self._manager.save(step, args=parts, metrics={"score": 0.0})

    def wait(self) -> None:
        """Waits for a save in the background.

        Raises:
            OSError: If the disk is full.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            if "No space left" in str(error):  # The storage library raises its own class.
                raise OSError(errno.ENOSPC, "No space left on device", str(self._directory)) from (
                    error
                )
            raise

    @property
    def steps(self) -> set[int]:
        """The saved steps."""
        self.wait()
        return set(self._manager.all_steps())

    @property
    def directory(self) -> Path:
        """Their folder."""
        return self._directory

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, which training will reach again."""
        for later in self.steps:
            if later > step:
                self._manager.delete(later)

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Restores a checkpoint.

        Args:
            step: Its step.
            like: A state of the same structure.

        Returns:
            The state as host arrays, and its progress.

        Raises:
            ConfigError: If it cannot be read.
        """
        self.wait()
        try:
            parts = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    weights=ocp.args.StandardRestore(_as_numpy(like.variables)),
                    training=ocp.args.StandardRestore(_as_numpy(_training(like))),
                    progress=ocp.args.JsonRestore(),
                ),
            )
        except Exception as error:  # Each damage raises a class of its own.
            raise _unreadable(self._directory / str(step), error) from error
        training = parts["training"]
        state = like.replace(
            step=training["step"],
            params={"model": parts["weights"]["params"], **training["params"]},
            batch_stats=parts["weights"]["batch_stats"],
            opt_state=training["opt_state"],
            rng=training["rng"],
            memory=training["memory"],
            teacher_stats=training["teacher_stats"],
        )
        return state, parts["progress"]


def load_variables(directory: Path, like: Params) -> tuple[Params, int]:
    """Loads the best variables of a trained model, without its optimizer or its method.

    Args:
        directory: The model's folder, which holds ``checkpoints``.
        like: ``{"params", "batch_stats"}`` of arrays or abstract arrays, of the model expected.

    Returns:
        ``(variables, step)``, as host arrays.

    Raises:
        ConfigError: If there is no finished checkpoint, it cannot be read, or it is of another
            model.
    """
    folder = directory / "checkpoints"
    if not folder.is_dir():
        raise ConfigError(f"no checkpoints under {directory}; expected a trained model's folder.")
    with Checkpoints(folder) as checkpoints:
        step = checkpoints.best
    if step is None:
        raise ConfigError(f"{directory} holds no evaluated checkpoint; let its training finish.")
    path = folder.absolute() / str(step)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            variables = checkpointer.restore(path / "weights")
    except Exception as error:  # Each damage raises a class of its own.
        raise _unreadable(path, error) from error
    shapes, expected = _shapes(variables), _shapes(like)
    for name in sorted({*shapes, *expected}):
        if shapes.get(name) != expected.get(name):
            raise ConfigError(
                f"the checkpoint in {directory} is not of the model the config names: {name} is "
                f"{shapes.get(name, 'missing')} there, expected {expected.get(name, 'nothing')}."
            )
    return jax.tree.map(np.asarray, variables), step


def _unreadable(path: Path, error: Exception) -> ConfigError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ConfigError(f"cannot read the checkpoint {path}: {reason[:200]}.")


def _training(state: TrainState) -> dict[str, Any]:
    return {
        "step": state.step,
        "params": {name: tree for name, tree in state.params.items() if name != "model"},
        "opt_state": state.opt_state,
        "rng": state.rng,
        "memory": state.memory,
        "teacher_stats": state.teacher_stats,
    }


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x.shape for path, x in leaves}


def _as_numpy(tree: Any) -> Any:
    """Returns zeros of the same shapes, a target that makes Orbax return host arrays."""
    return jax.tree.map(lambda x: np.zeros(np.shape(x), x.dtype), tree)
