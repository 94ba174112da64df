"""Saving and restoring by Orbax: the latest for resuming, the best for using."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from fdcmkd_jax.log import read_json, write_json
from fdcmkd_jax.state import TrainState
from fdcmkd_jax.tables import ConfigError
from fdcmkd_jax.types import Params

UNSCORED = -1.0
"""The score of a checkpoint that may not be chosen: below any accuracy."""


class Description(NamedTuple):
    """What a folder's weights are the weights of; ``model.json`` beside them.

    Attributes:
        modality: What the model reads; empty if nobody said.
        model: The backbone's name and options.
        num_classes: K.
        input_shape: Of one example, without N; None along an axis of any size.
    """

    modality: str
    model: Mapping[str, Any]
    num_classes: int
    input_shape: tuple[int | None, ...]

    def write(self, folder: Path) -> None:
        """Writes ``model.json``."""
        write_json(folder / "model.json", self._asdict())

    @classmethod
    def read(cls, folder: Path) -> "Description":
        """Reads ``model.json``.

        Raises:
            ConfigError: If there is none.
        """
        path = folder / "model.json"
        if not path.is_file():
            raise ConfigError(f"no model.json in {folder}; expected a trained model's folder.")
        found = cls(**read_json(path))
        return found._replace(input_shape=tuple(found.input_shape))


def _score(metrics: Mapping[str, float]) -> float:
    """NaN would break Orbax's ordering and delete the true best."""
    score = metrics["score"]
    return score if math.isfinite(score) else -math.inf


class Checkpoints:
    """One model's checkpoints: the latest few and the best by score.

    A checkpoint has three parts: ``weights`` (what a teacher needs), ``training`` (the rest of the
    state) and ``progress`` (the position in the data and other plain numbers). Trees are saved as
    host arrays without a device axis, so any number of devices can restore them. A save appears
    under its final name only when it is whole.

    Args:
        directory: Where they lie; made on the first save.
        keep_latest: How many of the latest are kept beside the best.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The last saved step; None if there is none."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step of the highest score; the later one if two are equal. None if none is scored."""
        self._manager.wait_until_finished()
        step = self._manager.best_step()
        return None if step is None or _score(self._manager.metrics(step)) <= UNSCORED else step

    def save(
        self, step: int, state: TrainState, progress: Mapping[str, Any], *, score: float | None
    ) -> None:
        """Saves in the background.

        Args:
            step: Number of steps taken; saving a saved step again does nothing.
            state: As host arrays.
            progress: JSON-able.
            score: Higher is better, 0 or more; None for one that may not be chosen as best.
        """
        # Otherwise a slow save is still deleting old steps when the next one lists them.
        self._manager.wait_until_finished()
        self._manager.save(
            step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(state.variables),
                training=ocp.args.StandardSave(_training(state)),
                progress=ocp.args.JsonSave(dict(progress)),
            ),
            metrics={"score": UNSCORED if score is None else score},
        )

    def save_weights(self, step: int, variables: Params) -> None:
        """Saves weights alone, as the best there are: a model that is used, not trained on.

        Args:
            step: Steps they were trained for, 0 or more.
            variables: ``{"params", "batch_stats"}`` as host arrays.
        """
        weights = ocp.args.StandardSave(dict(variables))
        self._manager.save(step, args=ocp.args.Composite(weights=weights), metrics={"score": 0.0})

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """A saved state as host arrays, and its progress.

        Args:
            step: Which.
            like: A state of the same structure.
        """
        self._manager.wait_until_finished()
        found = self._manager.restore(
            step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardRestore(_as_numpy(like.variables)),
                training=ocp.args.StandardRestore(_as_numpy(_training(like))),
                progress=ocp.args.JsonRestore(),
            ),
        )
        training = found["training"]
        state = like.replace(
            step=training["step"],
            params={"model": found["weights"]["params"], **training["params"]},
            batch_stats=found["weights"]["batch_stats"],
            opt_state=training["opt_state"],
            rng=training["rng"],
            memory=training["memory"],
            teacher_stats=training["teacher_stats"],
        )
        return state, found["progress"]


def load_weights(directory: Path, like: Params) -> tuple[Params, int]:
    """The best weights of a trained model, without its optimiser or its method.

    Args:
        directory: The model's folder, which holds ``checkpoints``.
        like: ``{"params", "batch_stats"}`` of arrays or abstract arrays, of the model expected.

    Returns:
        ``(weights, step)``, as host arrays.

    Raises:
        ConfigError: If there is no finished checkpoint, or it is of another model.
    """
    folder = directory / "checkpoints"
    if not folder.is_dir():
        raise ConfigError(f"no checkpoints under {directory}; expected a trained model's folder.")
    with Checkpoints(folder) as checkpoints:
        step = checkpoints.best
    if step is None:
        raise ConfigError(f"{directory} holds no evaluated checkpoint; let its training finish.")
    with ocp.StandardCheckpointer() as checkpointer:
        weights = checkpointer.restore(folder.absolute() / str(step) / "weights")
    found, expected = _shapes(weights), _shapes(like)
    for path in sorted({*found, *expected}):
        if found.get(path) != expected.get(path):
            raise ConfigError(
                f"the checkpoint in {directory} is not of the model the config names: {path} is "
                f"{found.get(path, 'missing')} there, expected {expected.get(path, 'nothing')}."
            )
    return jax.tree.map(np.asarray, weights), step


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
    """Zeros of the same shapes: a target that makes Orbax return host arrays."""
    return jax.tree.map(lambda x: np.zeros(np.shape(x), x.dtype), tree)
