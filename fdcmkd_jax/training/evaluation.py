"""Evaluation of a trained model: a pass over a split, and the record of the final passes."""

import collections
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from fdcmkd_jax.collectives import psum
from fdcmkd_jax.data.base import Source, Transform
from fdcmkd_jax.data.host import HostStage
from fdcmkd_jax.data.input import InputOptions, assemble
from fdcmkd_jax.methods import Method
from fdcmkd_jax.tasks import Task, metrics
from fdcmkd_jax.training.devices import AXIS, PROGRAMS, Devices, to_host
from fdcmkd_jax.training.forward import forward_program
from fdcmkd_jax.types import Outputs, Params, Targets

AHEAD = 2
"""Number of batches whose results are fetched later, so that no step waits for the host."""


KEPT_MB = 64
"""Limit of the batches of a split that stay on the devices between evaluations."""


@dataclass(frozen=True)
class EvalOptions:
    """Options of evaluation and of checkpoint selection.

    Attributes:
        every_epochs: Number of epochs between evaluations; the last epoch is always evaluated.
        batch_size: N of an evaluation batch, over all devices.
        select_split: The split that selects a checkpoint. ``"test"`` is the public code's choice;
            it makes the test results optimistic.
        select_heads: The heads among which the best selects, and is reported.
    """

    every_epochs: int = 1
    batch_size: int = 500
    select_split: Literal["val", "test"] = "val"
    select_heads: Sequence[str] = ("main",)

    def __post_init__(self) -> None:
        if self.every_epochs < 1 or self.batch_size < 1:
            raise ValueError(
                "every_epochs and batch_size must be positive, "
                f"got {self.every_epochs} and {self.batch_size}."
            )
        if self.select_split not in ("val", "test"):
            raise ValueError(f"select_split must be 'val' or 'test', got {self.select_split!r}.")
        if "main" not in self.select_heads:
            raise ValueError(f"select_heads must hold 'main', got {tuple(self.select_heads)}.")

    def describe(self, metric: str) -> str:
        """Describes the selection rule in words.

        Args:
            metric: The primary metric's name on a page.
        """
        heads = " or ".join(self.select_heads)
        return f"highest {self.select_split} {metric} of {heads}"


class Result(NamedTuple):
    """The result of one pass over a split.

    Attributes:
        heads: ``{head: {metric: value}}``; ``main`` is the model's own classifier.
        totals: ``{head: totals}``, the task's sums over the split.
        examples: What the task stores of this process's examples, and their ``id``, N first, in the
            split's order; empty unless asked for.
    """

    heads: dict[str, dict[str, float]]
    totals: dict[str, dict[str, Any]]
    examples: dict[str, np.ndarray]


class EvalParams(NamedTuple):
    """The variables of a model and the parameters of its method, on the devices."""

    variables: Params
    method: Params


class Evaluator:
    """Runs one model over splits.

    Args:
        model: The backbone.
        transform: Makes an example of a record; None where records are examples.
        modality: The modality that the model reads.
        method: Supplies further heads.
        task: Supplies targets and metrics; an attribute too.
        devices: The devices to run on.
        batch_size: N of a batch, over all devices.
        options: Threads and batches that read ahead.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform | None,
        modality: str,
        method: Method,
        task: Task,
        devices: Devices,
        batch_size: int,
        options: InputOptions,
    ) -> None:
        self.task = task
        self._forward = forward_program(devices, model, with_maps=method.needs.head_maps)
        self._sums = sums_program(devices, method, task)
        self._examples = examples_program(devices, task)
        self._devices, self._stage = devices, HostStage(transform, (modality,))
        self._modality = modality
        self._batch_size, self._options = batch_size, options
        self._kept: dict[int, tuple[Source, list[Any]]] = {}
        self._assemble = functools.partial(assemble, task=task, modalities=(modality,))

    def __call__(
        self, candidates: Mapping[str, EvalParams], source: Source, *, with_examples: bool = False
    ) -> dict[str, Result]:
        """Evaluates several sets of parameters in one pass.

        Args:
            candidates: Parameters by name.
            source: A split.
            with_examples: Return the examples too.

        Returns:
            Results by the same names.
        """
        totals: dict[str, Any] = dict.fromkeys(candidates)
        examples: dict[str, list] = {name: [] for name in candidates}
        running: collections.deque[Any] = collections.deque()

        def fetch(name: str, sums: Any, batch_examples: Any) -> None:
            totals[name] = metrics.add(totals[name], to_host(sums))
            if with_examples:
                examples[name].append(self._devices.gather(batch_examples))

        # The test split, read with its examples, is read once.
        for rows in self._batches(source, keep=not with_examples):
            inputs = rows.inputs[self._modality]
            for name, params in candidates.items():
                outputs = self._forward(params.variables, inputs)
                sums = self._sums(params.method, outputs, rows.targets)
                stored = self._examples(outputs, inputs, rows.targets) if with_examples else None
                running.append((name, sums, stored))
            # The devices compute while the host reads the next batch and fetches earlier results.
            while len(running) > AHEAD * len(candidates):
                fetch(*running.popleft())
        while running:
            fetch(*running.popleft())
        return {
            name: Result(
                heads={head: self.task.metrics(sums) for head, sums in totals[name].items()},
                totals=totals[name],
                examples=_real_rows(examples[name]) if with_examples else {},
            )
            for name in candidates
        }

    def _batches(self, source: Source, *, keep: bool) -> Iterator[Any]:
        """Yields a split's batches on the devices; small splits stay there for the next call."""
        from fdcmkd_jax.data.stream import eval_batches  # Loads Grain.

        # With the split itself, so that its id stays its own.
        if id(source) in self._kept:
            yield from self._kept[id(source)][1]
            return
        placed: list[Any] = []
        for batch in eval_batches(
            source, self._batch_size, self._assemble, self._stage, self._options
        ):
            rows = self._devices.split(batch)
            keep = keep and _megabytes([*placed, rows]) <= KEPT_MB
            placed = [*placed, rows] if keep else []
            yield rows
        if keep:
            self._kept[id(source)] = source, placed


def _megabytes(tree: Any) -> float:
    return sum(x.nbytes for x in jax.tree.leaves(tree)) / 2**20


@functools.lru_cache(maxsize=PROGRAMS)
def sums_program(devices: Devices, method: Method, task: Task) -> Callable[..., Any]:
    """Compiles the task's totals over a batch, for ``main`` and each head of the method."""

    def sums(method_params: Params, outputs: Outputs, targets: Targets) -> Any:
        logits = {"main": outputs.logits, **method.heads(method_params, outputs)}
        totals = {
            head: task.sums(head_logits, targets.labels, targets.mask)
            for head, head_logits in logits.items()
        }
        return psum(totals, AXIS)

    return devices.map(sums, split_arguments=(False, True, True))


@functools.lru_cache(maxsize=PROGRAMS)
def examples_program(devices: Devices, task: Task) -> Callable[..., dict[str, Any]]:
    """Compiles what the task stores of each example, with its ``id`` and ``mask``, N first."""

    def examples(outputs: Outputs, inputs: Any, targets: Targets) -> dict[str, Any]:
        stored = task.examples(outputs, targets.labels, inputs)
        return {**stored, "id": targets.id, "mask": targets.mask}

    return devices.map(examples, split_arguments=(True, True, True), split_result=True)


def best_head(
    results: Mapping[str, Mapping[str, float]], heads: Sequence[str], primary: str
) -> str:
    """Returns the best of the heads that the model has; the first if tied.

    Args:
        results: Metrics by head.
        heads: The heads that may be chosen.
        primary: The metric that decides; higher is better.
    """
    return max((head for head in heads if head in results), key=lambda h: results[h][primary])


def record(
    evaluator: Evaluator,
    options: EvalOptions,
    splits: Mapping[str, Source],
    selected: EvalParams,
    last: EvalParams | None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Runs the final evaluation, with the one pass over the test split.

    Args:
        evaluator: Evaluates the model.
        options: The options by which the checkpoint was selected.
        splits: ``val`` and ``test``.
        selected: The selected parameters.
        last: The parameters after the last step; None if the model was not trained here, so that
            the selected ones are the last.

    Returns:
        The model's entry in ``results.json`` (steps and seconds aside), and the test examples of
        the selected parameters.
    """
    val = evaluator({"selected": selected}, splits["val"])["selected"].heads
    candidates = {"selected": selected} | ({} if last is None else {"last": last})
    test = evaluator(candidates, splits["test"], with_examples=True)
    chosen = test["selected"]
    at_end = test.get("last", chosen)
    task, selecting = evaluator.task, {"val": val, "test": chosen.heads}[options.select_split]
    head = best_head(selecting, options.select_heads, task.primary)
    entry = {
        "selection": options.describe(task.label),
        "selected_head": head,
        "val": val[head],
        "test": chosen.heads[head],
        "last": {"test": at_end.heads["main"]},
        "heads": {
            name: {"val": val[name], "test": chosen.heads[name]} for name in val if name != "main"
        },
        **task.details(chosen.totals[head]),
    }
    return entry, chosen.examples


def _real_rows(batches: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    real = joined.pop("mask").astype(bool)
    return {name: rows[real] for name, rows in joined.items()}
