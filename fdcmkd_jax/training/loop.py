"""The training loop of one model: a teacher on its own, or a student under a teacher."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fdcmkd_jax.data.input import steps_per_epoch
from fdcmkd_jax.data.stream import TrainBatches
from fdcmkd_jax.tasks import metrics
from fdcmkd_jax.training import evaluation
from fdcmkd_jax.training.checkpoint import Checkpoints
from fdcmkd_jax.training.devices import to_host
from fdcmkd_jax.training.evaluation import EvalParams, Evaluator
from fdcmkd_jax.training.feed import Feed
from fdcmkd_jax.training.job import Job, RunContext
from fdcmkd_jax.training.log import Log, write_json
from fdcmkd_jax.training.start import (
    compiled_step,
    initial_state,
    spilled_outputs,
    training_data,
)
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.step import Sums
from fdcmkd_jax.training.stop import StoppedError


class NonFiniteError(ArithmeticError):
    """A loss term, gradient or parameter became NaN or infinite."""


def fit(job: Job, context: RunContext) -> dict[str, Any]:
    """Trains a model to its end, or continues where an earlier call was cut off.

    Leaves ``checkpoints``, ``metrics.jsonl``, ``test.npz`` and ``results.json`` in the model's
    folder. Interrupted and resumed, it ends with the same bits as uninterrupted.

    Args:
        job: The model to train.
        context: The shared parts of the run.

    Returns:
        The model's entry in the run's results.

    Raises:
        NonFiniteError: If a term, gradient or parameter is not finite; the last good checkpoint is
            kept.
        StoppedError: If the process was asked to stop; the state is saved.
        ConfigError: If no checkpoint of an earlier call can be read.
        ValueError: If the training split is smaller than a batch.
    """
    directory = context.workdir / job.name
    epoch_steps = steps_per_epoch(job.train, context.input)
    total = job.num_epochs * epoch_steps
    evaluator = context.evaluator(job.model, job.modality, job.method)
    data = training_data(job, context)
    current, done, seconds = initial_state(job, context), 0, 0.0
    with Checkpoints(
        directory / "checkpoints", keep_latest=context.checkpoint.keep_latest
    ) as checkpoints:
        restored = checkpoints.restore_latest(like=current)
        if restored is not None:
            current, progress = restored
            data.set_state(progress["data"])
            done, seconds = int(current.step), progress["seconds"]
        current = context.devices.replicate(current)
        with Log(
            directory,
            context.workdir / "tensorboard" / job.name,
            title=job.title,
            start=done,
            total=total,
            active=jax.process_index() == 0,
        ) as log:
            loop = _Loop(job, context, evaluator, checkpoints, log, epoch_steps, total)
            current, seconds = loop.run(current, data, done, seconds)
        data.close()
        entry, examples = _final_record(evaluator, context, checkpoints, current, total)
    entry = {**entry, "seconds": round(seconds, 1)}
    finish(directory, entry, examples)
    spilled_outputs(job, context).unlink(missing_ok=True)
    return entry


def finish(directory: Path, entry: Mapping[str, Any], examples: Mapping[str, np.ndarray]) -> None:
    """Writes a model's test examples and its entry; the entry last, because it marks the end."""
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(directory / "test.npz", allow_pickle=False, **examples)
        write_json(directory / "results.json", entry)


@dataclass(frozen=True)
class _Loop:
    """The steps of one model, with the log rows, evaluations and checkpoints between them."""

    job: Job
    context: RunContext
    evaluator: Evaluator
    checkpoints: Checkpoints
    log: Log
    epoch_steps: int
    total: int

    def run(
        self, current: TrainState, data: TrainBatches, done: int, seconds: float
    ) -> tuple[TrainState, float]:
        """Takes the remaining steps; returns the state and the seconds since the first start."""
        step_function, teacher_variables = compiled_step(self.job, self.context)
        began = time.monotonic() - seconds
        feed = Feed(data, self.context.devices)
        window: list[Sums] = []
        for step in range(done + 1, self.total + 1):
            batch = feed.take()
            current, sums = step_function(current, teacher_variables, batch)
            window.append(sums)
            if step < self.total:
                feed.read_ahead(sums)
            evaluate, save = self._due(step)
            if not save and step % self.context.train.log_every_steps:
                continue
            self._log_row(window, step, feed)
            window.clear()
            score = self._evaluate(current, step) if evaluate else None
            # Only at the end of a row, so that a stopped run leaves the rows of one that was not.
            stop = bool(self.context.stop) and step < self.total
            if save or stop:
                host = to_host(current)
                _check_finite(host, step, self.checkpoints.latest)
                seconds = time.monotonic() - began
                progress = {"data": feed.position, "seconds": seconds}
                self.checkpoints.save(step, host, progress, score=score)
            if stop:
                self.checkpoints.wait()
                raise StoppedError(f"stopped at step {step} of {self.total} of {self.job.title}")
            feed.start_row()
        return current, seconds

    def _due(self, step: int) -> tuple[bool, bool]:
        """Returns whether an evaluation and a checkpoint are due after a step."""
        period = self.context.evaluate.every_epochs * self.epoch_steps
        evaluate = step % period == 0 or step == self.total
        every = self.context.checkpoint.every_steps
        return evaluate, evaluate or bool(every and step % every == 0)

    def _log_row(self, window: list[Sums], step: int, feed: Feed) -> None:
        """Logs the means over the steps since the last row."""
        row = _means(window, step, self.checkpoints.latest)
        rate = float(self.job.optimizer.schedule(step - 1))
        row |= {"epoch": step / self.epoch_steps, "learning_rate": rate}
        row["waiting_for_data"] = round(feed.waiting_share(), 4)
        self.log.write(row)
        self.log.advance(step, loss=row["loss"], accuracy=row["accuracy"])

    def _evaluate(self, current: TrainState, step: int) -> float:
        """Evaluates on the split that selects, logs the result, and returns the score."""
        options = self.context.evaluate
        split = self.context.splits[options.select_split]
        heads = self.evaluator({"now": _eval_params(current)}, split)["now"].heads
        row = {"split": options.select_split, "step": step, "epoch": step / self.epoch_steps}
        band_heads = {name: heads[name] for name in heads if name != "main"}
        self.log.write({**row, **heads["main"], "heads": band_heads})
        return heads[evaluation.best_head(heads, options.select_heads)]["accuracy"]


def _final_record(
    evaluator: Evaluator,
    context: RunContext,
    checkpoints: Checkpoints,
    last: TrainState,
    total: int,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Evaluates the selected and the last state; returns the entry and the test examples."""
    step = checkpoints.best
    assert step is not None, "training ends with an evaluation, which saves a score"
    selected, _ = checkpoints.restore(step, like=last)
    entry, examples = evaluation.record(
        evaluator,
        context.evaluate,
        context.splits,
        _eval_params(context.devices.replicate(selected)),
        _eval_params(last),
    )
    entry["last"] = {"step": total, **entry["last"]}
    return {"selected_step": step, **entry}, examples


def _eval_params(current: TrainState) -> EvalParams:
    return EvalParams(current.variables, current.params["method"])


def _means(window: list[Sums], step: int, saved: int | None) -> dict[str, Any]:
    """Returns the means over a window of steps that ends with ``step``.

    Raises:
        NonFiniteError: Naming the first step and term that are not finite.
    """
    host = [to_host(sums) for sums in window]
    for at, sums in enumerate(host, step - len(host) + 1):
        for group, words in (("terms", "the term"), ("gradient_norms", "the gradient of the term")):
            for name, (value, _) in sums[group].items():
                if not math.isfinite(value):
                    raise _diverged(f"{words} {name!r}", float(value), at, saved)
    totals: Any = None
    for sums in host:
        totals = metrics.add(totals, sums)
    means = jax.tree.map(metrics.mean, totals, is_leaf=lambda x: isinstance(x, tuple))
    return {"split": "train", "step": step, **means}


def _check_finite(host: TrainState, step: int, saved: int | None) -> None:
    """Raises NonFiniteError rather than let a spoiled state replace a good checkpoint.

    A step's losses are those before its update, so they can be finite when the update is not.
    """
    kept = (host.params, host.batch_stats, host.teacher_stats, host.memory)
    for path, leaf in jax.tree_util.tree_leaves_with_path(kept):
        if not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
            raise _diverged(
                f"the parameter {name}", float(leaf[~np.isfinite(leaf)][0]), step, saved
            )


def _diverged(name: str, value: float, step: int, saved: int | None) -> NonFiniteError:
    kept = f"of step {saved}" if saved else "none yet"
    return NonFiniteError(
        f"{name} became {value} at step {step}; last good checkpoint: {kept}. "
        "Try a lower optim.learning_rate."
    )
