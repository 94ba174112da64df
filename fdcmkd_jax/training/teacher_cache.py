"""Outputs of a frozen teacher, computed once instead of in every step."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.training.state import abstract_outputs
from fdcmkd_jax.training.teachers import Modality, TeacherGroup, select
from fdcmkd_jax.types import Params, to_record

LIMIT_MB = 256
"""Limit of the outputs kept in memory; a teacher with larger outputs runs in every step."""


class CachedTeacherSource:
    """A split whose examples hold a teacher's outputs in place of the teacher's inputs.

    Args:
        source: The split.
        outputs: ``logits [N, ..., K]`` and ``features [N, ..., D]`` in the order of the split; of
            several teachers, by modality.
        leave_out: Modalities that only the teacher reads.
    """

    def __init__(
        self, source: Source, outputs: Mapping[str, Any], leave_out: Iterable[str]
    ) -> None:
        self._source, self._outputs = source, outputs
        self._left_out = {*leave_out, "partner"}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        example = self._source[index]
        kept = {key: value for key, value in example.items() if key not in self._left_out}
        return {**kept, "teacher": jax.tree.map(lambda rows: rows[index], self._outputs)}


def cache_teacher_outputs(
    source: Source,
    model: nn.Module | TeacherGroup,
    variables: Params,
    modality: Modality,
    *,
    leave_out: Iterable[str],
    batch_size: int,
) -> Source:
    """Adds a teacher's outputs to a training split, if they are small enough to keep.

    For a teacher whose input of an example is the same in every epoch. Where pairs are broken it is
    the partner's input, so a control has the outputs it would have had. Maps are not kept.

    Args:
        source: The split as the student sees it.
        model: The teacher's backbone.
        variables: Its ``{"params", "batch_stats"}``.
        modality: The modality it reads.
        leave_out: Modalities that only the teacher reads.
        batch_size: N of the pass that computes the outputs.

    Returns:
        A `CachedTeacherSource`; ``source`` itself if all outputs together, with their N rows of
        logits and features, would take more than `LIMIT_MB`.
    """
    inputs = functools.partial(_stacked_inputs, source, modality)
    shapes = to_record(abstract_outputs(model, variables, inputs([0])))
    example_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    if len(source) * example_bytes > LIMIT_MB * 2**20:
        return source
    outputs = _run_over(source, model, variables, inputs, batch_size)
    return CachedTeacherSource(source, outputs, leave_out)


def _stacked_inputs(source: Source, modality: Modality, rows: Sequence[int]) -> Any:
    """Stacks the teacher's inputs of some examples; a broken pair's is the partner's."""
    examples = (source[row] for row in rows)
    inputs = [select(example.get("partner", example), modality) for example in examples]
    return jax.tree.map(lambda *arrays: np.stack(arrays), *inputs)


def _run_over(
    source: Source,
    model: nn.Module | TeacherGroup,
    variables: Params,
    inputs: Callable[[Sequence[int]], Any],
    batch_size: int,
) -> dict[str, Any]:
    """Returns the teacher's outputs on the whole split, in its order."""
    variables = jax.device_put(variables)
    count = min(batch_size, len(source))
    batches = []
    for first in range(0, len(source), count):
        # The last row fills the last batch, so that one shape is compiled.
        rows = [min(row, len(source) - 1) for row in range(first, first + count)]
        outputs = _apply(model, variables, inputs(rows))
        batches.append(jax.tree.map(np.asarray, outputs))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(source)], *batches)


@functools.partial(jax.jit, static_argnums=0)
def _apply(model: nn.Module | TeacherGroup, variables: Params, x: Any) -> dict[str, Any]:
    return to_record(model.apply(variables, x, train=False))
