"""The training loop: models that read the same batches train in one program."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fdcmkd_jax.data.input import steps_per_epoch
from fdcmkd_jax.training import evaluation
from fdcmkd_jax.training.checkpoint import Checkpoints
from fdcmkd_jax.training.devices import first_of_processes, to_host
from fdcmkd_jax.training.evaluation import EvalParams, Evaluator
from fdcmkd_jax.training.feed import Feed
from fdcmkd_jax.training.finite import NonFiniteError, check_finite, means
from fdcmkd_jax.training.job import Job, RunContext
from fdcmkd_jax.training.log import Log, write_json
from fdcmkd_jax.training.resume import can_continue_together, restore_together
from fdcmkd_jax.training.start import Training, initial_state, prepare, spilled_outputs
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.step import Sums
from fdcmkd_jax.training.stop import StoppedError
from fdcmkd_jax.training.teachers import modalities

States = dict[str, TrainState]
"""The state of each model, by the model's name."""


def fit(jobs: Sequence[Job], context: RunContext) -> dict[str, dict[str, Any]]:
    """Trains models to their end, or continues where an earlier call was cut off.

    All take their steps in one program, from the same batches. Each leaves ``checkpoints``,
    ``metrics.jsonl``, ``test.npz`` and ``results.json`` in its own folder. Interrupted and resumed,
    a model ends with the same bits as uninterrupted. Models that were trained one by one before,
    and have no saved step in common, are trained on one by one.

    Args:
        jobs: The models. They share their training split and their number of epochs.
        context: The shared parts of the run.

    Returns:
        Each model's entry in the run's results, by the model's name.

    Raises:
        NonFiniteError: If a term, gradient or parameter is not finite; the last good checkpoints
            are kept.
        StoppedError: If the process was asked to stop; the states are saved.
        ConfigError: If no checkpoint of an earlier call can be read.
        ValueError: If the training split is smaller than a batch, or the models do not share it.
    """
    if any(job.train is not jobs[0].train or job.num_epochs != jobs[0].num_epochs for job in jobs):
        raise ValueError("models that train together share their split and number of epochs.")
    starts = {job.name: initial_state(job, context) for job in jobs}
    with contextlib.ExitStack() as stack:
        # A save may follow that of the best state, and the others may still be at the save before.
        keep_latest = max(context.checkpoint.keep_latest, 3 if len(jobs) > 1 else 1)
        checkpoints = {
            job.name: stack.enter_context(
                Checkpoints(context.workdir / job.name / "checkpoints", keep_latest=keep_latest)
            )
            for job in jobs
        }
        together = can_continue_together([saved.steps for saved in checkpoints.values()])
        if together:
            results = _train(jobs, context, checkpoints, starts)
    if not together:
        return {name: entry for job in jobs for name, entry in fit([job], context).items()}
    for name, (entry, examples) in results.items():
        finish(context.workdir / name, entry, examples)
    for modality in {name for job in jobs for name in modalities(job.teacher_input)}:
        spilled_outputs(modality, context).unlink(missing_ok=True)
    return {name: entry for name, (entry, _) in results.items()}


def finish(directory: Path, entry: Mapping[str, Any], examples: Mapping[str, np.ndarray]) -> None:
    """Writes a model's test examples and its entry; the entry last, because it marks the end."""
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(directory / "test.npz", allow_pickle=False, **examples)
        write_json(directory / "results.json", entry)


def _train(
    jobs: Sequence[Job],
    context: RunContext,
    checkpoints: Mapping[str, Checkpoints],
    states: States,
) -> dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Takes all remaining steps; returns each model's entry and its test examples."""
    restored = restore_together(checkpoints, states)
    training = prepare(jobs, context)
    done, seconds = 0, 0.0
    if restored is not None:
        states, progress = restored
        training.data.set_state(progress["data"])
        done, seconds = int(states[jobs[0].name].step), progress["seconds"]
    epoch_steps = steps_per_epoch(jobs[0].train, context.input)
    total = jobs[0].num_epochs * epoch_steps
    with contextlib.ExitStack() as logs:
        models = {}
        for job in jobs:
            log = Log(
                context.workdir / job.name,
                context.workdir / "tensorboard" / job.name,
                title=job.title,
                start=done,
                total=total,
                active=jax.process_index() == 0,
            )
            evaluator = context.evaluator(job.model, job.modality, job.method)
            saved = checkpoints[job.name]
            models[job.name] = _Model(job, context, evaluator, saved, logs.enter_context(log))
        loop = _Loop(models, context, epoch_steps, total)
        states = context.devices.replicate(states)
        states, seconds = loop.run(states, training, done, seconds)
    training.data.close()
    results = {}
    for name, model in models.items():
        entry, examples = model.final_record(states[name], total)
        results[name] = {**entry, "seconds": round(seconds, 1)}, examples
    return results


@dataclass(frozen=True)
class _Model:
    """One model with its evaluator, its checkpoints and its log."""

    job: Job
    context: RunContext
    evaluator: Evaluator
    checkpoints: Checkpoints
    log: Log

    def log_row(self, window: Sequence[Sums], step: int, epoch: float, waiting: float) -> None:
        """Logs the means over the steps since the last row."""
        averages = means(window, step, self.checkpoints.latest, self.job.title)
        progress = averages.pop("progress")
        row: dict[str, Any] = {"split": "train", "step": step, **progress, **averages}
        row |= {"epoch": epoch, "learning_rate": float(self.job.optimizer.schedule(step - 1))}
        row["waiting_for_data"] = round(waiting, 4)
        self.log.write(row)
        self.log.advance(step, loss=row["loss"], **progress)

    def evaluate(self, current: TrainState, step: int, epoch: float) -> float:
        """Evaluates on the split that selects, logs the result, and returns the score."""
        options = self.context.evaluate
        split = self.context.splits[options.select_split]
        heads = self.evaluator({"now": _eval_params(current)}, split)["now"].heads
        row = {"split": options.select_split, "step": step, "epoch": epoch}
        band_heads = {name: heads[name] for name in heads if name != "main"}
        self.log.write({**row, **heads["main"], "heads": band_heads})
        primary = self.context.task.primary
        return heads[evaluation.best_head(heads, options.select_heads, primary)][primary]

    def final_record(
        self, last: TrainState, total: int
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Evaluates the selected and the last state; returns the entry and the test examples."""
        step = self.checkpoints.best
        assert step is not None, "training ends with an evaluation, which saves a score"
        selected, _ = self.checkpoints.restore(step, like=last)
        entry, examples = evaluation.record(
            self.evaluator,
            self.context.evaluate,
            self.context.splits,
            _eval_params(self.context.devices.replicate(selected)),
            _eval_params(last),
        )
        entry["last"] = {"step": total, **entry["last"]}
        return {"selected_step": step, **entry}, examples


class _Row(NamedTuple):
    """A row of the log to be written: the sums of its steps, the last step, the wait for data."""

    window: list[dict[str, Sums]]
    step: int
    waiting: float


@dataclass(frozen=True)
class _Loop:
    """The steps of all models, with the log rows, evaluations and checkpoints between them."""

    models: Mapping[str, _Model]
    context: RunContext
    epoch_steps: int
    total: int

    def run(
        self, states: States, training: Training, done: int, seconds: float
    ) -> tuple[States, float]:
        """Takes the remaining steps; returns the states and the seconds since the first start."""
        began, saved_at = time.monotonic() - seconds, time.monotonic()
        feed = Feed(training.data, self.context.devices)
        window: list[dict[str, Sums]] = []
        ended: list[_Row] = []
        for step in range(done + 1, self.total + 1):
            batch = feed.take()
            if len(window) > 1:
                jax.block_until_ready(window[-2])  # A CPU holds the memory of all steps in flight.
            states, sums = training.step(states, training.teacher_variables, batch)
            window.append(sums)
            self._log_rows(ended)  # While the devices compute this step.
            if step < self.total:
                feed.read_ahead(sums)
            evaluate, save = self._due(step)
            if not (evaluate or save) and step % self.context.train.log_every_steps:
                continue
            ended.append(_Row(window, step, feed.waiting_share()))
            window, scores = [], {}
            if evaluate:
                self._log_rows(ended)
                scores = self._evaluate(states, step)
            # Only at the end of a row, so that a stopped run leaves the rows of one that was not.
            stop = bool(self.context.stop) and step < self.total
            if evaluate or save or stop:
                self._log_rows(ended)
                save = save or stop or self._is_long_ago(saved_at)
                seconds = time.monotonic() - began
                progress = {"data": feed.position, "seconds": seconds}
                self._save(states, step, progress, scores, hold=not save)
                saved_at = time.monotonic() if save else saved_at
            if stop:
                titles = " and ".join(model.job.title for model in self.models.values())
                raise StoppedError(f"stopped at step {step} of {self.total} of {titles}")
            feed.start_row()
        return states, seconds

    def _due(self, step: int) -> tuple[bool, bool]:
        """Returns whether an evaluation and a checkpoint of its own are due after a step."""
        period = self.context.evaluate.every_epochs * self.epoch_steps
        evaluate = step % period == 0 or step == self.total
        every = self.context.checkpoint.every_steps
        return evaluate, step == self.total or bool(every and step % every == 0)

    def _is_long_ago(self, saved_at: float) -> bool:
        """Returns whether the next evaluation saves, the same in all processes."""
        return first_of_processes(
            time.monotonic() - saved_at >= self.context.checkpoint.every_seconds
        )

    def _log_rows(self, ended: list[_Row]) -> None:
        """Logs the rows that ended, and removes them."""
        for window, step, waiting in ended:
            host = to_host(window)
            for name, model in self.models.items():
                rows = [sums[name] for sums in host]
                model.log_row(rows, step, step / self.epoch_steps, waiting)
        ended.clear()

    def _evaluate(self, states: States, step: int) -> dict[str, float]:
        epoch = step / self.epoch_steps
        return {
            name: model.evaluate(states[name], step, epoch) for name, model in self.models.items()
        }

    def _save(
        self,
        states: States,
        step: int,
        progress: Mapping[str, Any],
        scores: Mapping[str, float],
        *,
        hold: bool,
    ) -> None:
        """Saves all models, or only holds their states; neither if one is not finite."""
        host = to_host(states)
        for name, model in self.models.items():
            check_finite(host[name], step, model.checkpoints.latest, model.job.title)
        for name, model in self.models.items():
            if hold:
                model.checkpoints.hold(step, host[name], progress, score=scores[name])
            else:
                model.checkpoints.save(step, host[name], progress, score=scores.get(name))
        if self.context.stop:
            for model in self.models.values():
                model.checkpoints.wait()


def _eval_params(current: TrainState) -> EvalParams:
    return EvalParams(current.variables, current.params["method"])


__all__ = ["NonFiniteError", "finish", "fit"]
