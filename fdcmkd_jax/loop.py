"""Training one model: a teacher on its own, or a student under a teacher."""

import functools
import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from fdcmkd_jax import cache, evaluation, metrics, state, teachers
from fdcmkd_jax.checkpoint import Checkpoints
from fdcmkd_jax.data import pipeline
from fdcmkd_jax.data.base import Source
from fdcmkd_jax.evaluation import Evaluator, Weights
from fdcmkd_jax.log import Log, write_json
from fdcmkd_jax.methods import Method
from fdcmkd_jax.state import TrainState
from fdcmkd_jax.step import PROGRAMS, Devices, Sums, make_train_step, to_host
from fdcmkd_jax.tasks import Task
from fdcmkd_jax.teachers import Ensemble, Modality
from fdcmkd_jax.types import Params, Targets


class NonFiniteError(ArithmeticError):
    """A loss term or gradient became NaN or infinite."""


@dataclass(frozen=True)
class Options:
    """How training runs.

    Attributes:
        num_epochs: Passes over the training split.
        log_every_steps: Steps averaged into one row of the log.
        parallel: ``"pmap"`` or ``"shard_map"``.
        sync_batch_norm: Take BatchNorm statistics over all devices.
        start_from: Per modality, the folder of a model whose weights its students start from; empty
            to draw them.
    """

    num_epochs: int
    log_every_steps: int = 10
    parallel: Literal["pmap", "shard_map"] = "pmap"
    sync_batch_norm: bool = True
    start_from: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or self.log_every_steps < 1:
            raise ValueError(
                "num_epochs and log_every_steps must be positive, "
                f"got {self.num_epochs} and {self.log_every_steps}."
            )
        if self.parallel not in ("pmap", "shard_map"):
            raise ValueError(f"parallel must be 'pmap' or 'shard_map', got {self.parallel!r}.")


@dataclass(frozen=True)
class CheckpointOptions:
    """When to save, beside every evaluation.

    Attributes:
        every_steps: Save after so many steps too; 0 for evaluations only.
        keep_latest: How many of the latest to keep beside the best.
    """

    every_steps: int = 0
    keep_latest: int = 2

    def __post_init__(self) -> None:
        if self.every_steps < 0 or self.keep_latest < 1:
            raise ValueError(
                "every_steps must not be negative and keep_latest positive, "
                f"got {self.every_steps} and {self.keep_latest}."
            )


@dataclass(frozen=True)
class Teacher:
    """A trained model, frozen unless the method trains it on; or several as one.

    Attributes:
        model: Its backbone.
        modality: What it reads.
        variables: ``{"params", "batch_stats"}`` as host arrays.
    """

    model: nn.Module | Ensemble
    modality: Modality
    variables: Params


@dataclass(frozen=True)
class Job:
    """One model to train.

    Attributes:
        name: Its folder below the workdir, ``students/audio-to-image``; seeds its start.
        title: How people are told of it, ``audio->image``.
        model: The backbone.
        modality: What it reads.
        method: How it is taught.
        weights: One per loss term.
        teacher: Who teaches; None without a teacher.
        train: The training split as this model sees it.
        num_epochs: Passes over it.
        make_optimizer: ``(num_epochs=, steps_per_epoch=) -> (transformation, schedule)``.
        weights_at_start: ``{"params", "batch_stats"}`` to start from; None to draw them.
    """

    name: str
    title: str
    model: nn.Module
    modality: str
    method: Method
    weights: Mapping[str, float]
    teacher: Teacher | None
    train: Source
    num_epochs: int
    make_optimizer: Callable[..., tuple[optax.GradientTransformation, optax.Schedule]]
    weights_at_start: Params | None = None


@dataclass(frozen=True)
class Harness:
    """What all models of a run share.

    Attributes:
        workdir: The run's folder.
        seed: Of starts, order and augmentation.
        task: What labels mean.
        splits: ``val`` and ``test``.
        batches: How a split becomes batches.
        train: How training runs.
        evaluate: When to evaluate, how to select.
        checkpoint: When to save.
        devices: Where everything runs.
    """

    workdir: Path
    seed: int
    task: Task
    splits: Mapping[str, Source]
    batches: pipeline.Options
    train: Options
    evaluate: evaluation.Options
    checkpoint: CheckpointOptions
    devices: Devices

    def evaluator(self, model: nn.Module, modality: str, method: Method) -> Evaluator:
        """Evaluates a model of this run."""
        return Evaluator(model, modality, method, self.task, self.devices, self.evaluate.batch_size)


def fit(job: Job, harness: Harness) -> dict[str, Any]:
    """Trains a model to its end, or continues where an earlier call was cut off.

    Leaves ``checkpoints``, ``metrics.jsonl``, ``test.npz`` and ``results.json`` in the model's
    folder. Interrupted and resumed, it ends with the same bits as uninterrupted.

    Args:
        job: What to train.
        harness: What the run shares.

    Returns:
        The model's entry in the run's results.

    Raises:
        NonFiniteError: If a term or gradient is not finite; the last good checkpoint is kept.
        ValueError: If the training split is smaller than a batch.
    """
    directory = harness.workdir / job.name
    per_epoch = pipeline.steps_per_epoch(job.train, harness.batches)
    total = job.num_epochs * per_epoch
    optimizer, rate = job.make_optimizer(num_epochs=job.num_epochs, steps_per_epoch=per_epoch)
    evaluator = harness.evaluator(job.model, job.modality, job.method)
    data = pipeline.train_batches(training_split(job, harness), harness.batches, seed=harness.seed)
    current = start(job, harness, optimizer)
    seconds = 0.0

    with Checkpoints(
        directory / "checkpoints", keep_latest=harness.checkpoint.keep_latest
    ) as checkpoints:
        done = checkpoints.latest or 0
        if done:
            current, progress = checkpoints.restore(done, like=current)
            data.set_state(progress["data"])
            seconds = progress["seconds"]
        current = harness.devices.replicate(current)
        with Log(
            directory,
            harness.workdir / "tensorboard" / job.name,
            title=job.title,
            start=done,
            total=total,
            active=jax.process_index() == 0,
        ) as log:
            step_fn, teacher_variables = train_step(job, harness)
            began = time.monotonic() - seconds
            window: list[Sums] = []
            for step in range(done + 1, total + 1):
                batch = harness.devices.split(next(data))
                current, sums = step_fn(current, teacher_variables, batch)
                window.append(sums)
                evaluate = step % (harness.evaluate.every_epochs * per_epoch) == 0 or step == total
                every = harness.checkpoint.every_steps
                save = evaluate or bool(every and step % every == 0)
                if not save and step % harness.train.log_every_steps:
                    continue
                row = _summary(window, step, checkpoints.latest)
                window.clear()
                row |= {"epoch": step / per_epoch, "learning_rate": float(rate(step - 1))}
                log.write(row)
                log.advance(step, loss=row["loss"], accuracy=row["accuracy"])
                score = None
                if evaluate:
                    score = _evaluate(evaluator, _weights(current), harness, step, per_epoch, log)
                if save:
                    host = to_host(current)
                    _check_finite(host, step, checkpoints.latest)
                    seconds = time.monotonic() - began
                    progress = {"data": data.get_state(), "seconds": seconds}
                    checkpoints.save(step, host, progress, score=score)

        selected = checkpoints.best
        assert selected is not None, "training ends with an evaluation, which saves a score"
        chosen, _ = checkpoints.restore(selected, like=current)
        entry, examples = evaluation.record(
            evaluator,
            harness.evaluate,
            harness.splits,
            _weights(harness.devices.replicate(chosen)),
            _weights(current),
        )
    entry = {"selected_step": selected, **entry, "seconds": round(seconds, 1)}
    entry["last"] = {"step": total, **entry["last"]}
    finish(directory, entry, examples)
    return entry


def finish(directory: Path, entry: Mapping[str, Any], examples: Mapping[str, np.ndarray]) -> None:
    """Leaves a model's test examples and its entry; the entry last, since it marks the end."""
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(directory / "test.npz", allow_pickle=False, **examples)
        write_json(directory / "results.json", entry)


def start(job: Job, harness: Harness, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    first = jax.tree.map(lambda x: jnp.asarray(x)[None], job.train[0])
    teacher = None
    if job.teacher is not None:
        seen = teachers.read(first, job.teacher.modality)
        teacher = state.abstract_outputs(job.teacher.model, job.teacher.variables, seen)
    key = jax.random.fold_in(jax.random.key(harness.seed), zlib.crc32(job.name.encode()))
    drawn = state.create(
        key,
        job.model,
        first[job.modality],
        job.method,
        teacher,
        optimizer,
        harness.task.num_classes,
        everyone=_everyone(job.train, harness.task) if job.method.init_memory else None,
        teacher_variables=job.teacher.variables if job.teacher else None,
    )
    if job.weights_at_start is None:
        return drawn
    given = jax.tree.map(jnp.asarray, job.weights_at_start)
    return drawn.replace(
        params={**drawn.params, "model": given["params"]}, batch_stats=given["batch_stats"]
    )


def training_split(job: Job, harness: Harness) -> Source:
    """The training split, with the teacher's outputs where they are the same in every epoch."""
    teacher, method = job.teacher, job.method
    if teacher is None or not method.names or method.reads_teacher_maps or method.trains_teacher:
        return job.train
    read = set(teachers.modalities(teacher.modality))
    if read & set(harness.batches.augment):
        return job.train
    return cache.with_outputs(
        job.train,
        teacher.model,
        teacher.variables,
        teacher.modality,
        leave_out=read - {job.modality},
        batch_size=harness.batches.batch_size,  # Not evaluation's: that changes no result.
    )


def _everyone(source: Source, task: Task) -> Targets:
    """The targets of a whole split, in its order; one pass over it."""
    examples = (source[row] for row in range(len(source)))
    rows = [(each["label"], each["labelled"], each["id"]) for each in examples]
    labels, labelled, ids = (jnp.asarray(np.stack(column)) for column in zip(*rows, strict=True))
    batch = {"label": labels, "labelled": labelled, "mask": jnp.ones(len(ids), bool), "id": ids}
    return task.targets(batch)


def train_step(job: Job, harness: Harness) -> tuple[Callable, Params]:
    """The compiled step and a frozen teacher's variables on the devices."""
    teacher = job.teacher
    compiled = _program(
        harness.devices,
        job.model,
        job.modality,
        job.method,
        harness.task,
        tuple(job.weights.items()),
        teacher.model if teacher else None,
        teacher.modality if teacher else (),
    )
    frozen = teacher.variables if teacher and not job.method.trains_teacher else {}
    return compiled, harness.devices.replicate(frozen)


@functools.lru_cache(maxsize=PROGRAMS)
def _program(
    devices: Devices,
    student: nn.Module,
    student_input: str,
    method: Method,
    task: Task,
    weights: tuple[tuple[str, float], ...],
    teacher: nn.Module | Ensemble | None,
    teacher_input: Modality,
) -> Callable:
    """The compiled step of these things; that of an earlier run in this process, if it had them."""
    step = make_train_step(
        student, student_input, method, task, dict(weights), teacher, teacher_input
    )
    return devices.map(step, batch_argument=2, split_output=None, donate=True)


def _weights(current: TrainState) -> Weights:
    return Weights(current.variables, current.params["method"])


def _summary(window: list[Sums], step: int, saved: int | None) -> dict[str, Any]:
    """The means over the steps since the last row.

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
    """Raises NonFiniteError rather than let a spoilt state replace a good checkpoint.

    A step's losses are those before its update, so they can be finite when the update is not.
    """
    kept = (host.params, host.batch_stats, host.teacher_stats, host.memory)
    for path, leaf in jax.tree_util.tree_leaves_with_path(kept):
        if not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
            raise _diverged(
                f"the parameter {name}", float(leaf[~np.isfinite(leaf)][0]), step, saved
            )


def _diverged(what: str, value: float, step: int, saved: int | None) -> NonFiniteError:
    kept = f"of step {saved}" if saved else "none yet"
    return NonFiniteError(
        f"{what} became {value} at step {step}; last good checkpoint: {kept}. "
        "Try a lower optim.learning_rate."
    )


def _evaluate(
    evaluator: Evaluator, weights: Weights, harness: Harness, step: int, per_epoch: int, log: Log
) -> float:
    """Evaluates for selection, logs it, and returns the score."""
    split, heads = harness.evaluate.select_split, harness.evaluate.select_heads
    found = evaluator({"now": weights}, harness.splits[split])["now"].heads
    others = {name: found[name] for name in found if name != "main"}
    row = {"split": split, "step": step, "epoch": step / per_epoch, **found["main"]}
    log.write({**row, "heads": others})
    return found[evaluation.best_head(found, heads)]["accuracy"]
