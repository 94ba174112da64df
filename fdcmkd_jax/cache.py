"""A frozen teacher's outputs, computed once instead of in every step."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from fdcmkd_jax import state, teachers
from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.teachers import Ensemble, Modality
from fdcmkd_jax.types import Params

LIMIT_MB = 256
"""Of the outputs kept in memory; a teacher that says more is run in every step."""


class Taught:
    """A split that holds what a teacher says of its examples, in place of what the teacher reads.

    Args:
        source: The split.
        outputs: ``logits [N, ..., K]`` and ``features [N, ..., D]`` in the split's order; of
            several teachers, those of each by modality.
        leave_out: Modalities that nobody but the teacher reads.
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


def with_outputs(
    source: Source,
    model: nn.Module | Ensemble,
    variables: Params,
    modality: Modality,
    *,
    leave_out: Iterable[str],
    batch_size: int,
) -> Source:
    """A training split with a teacher's outputs in it, if they are small enough to be kept.

    For a teacher that sees the same input of an example in every epoch. Where pairs are broken that
    is the partner's, so a control has the outputs it would have had. Maps are not kept.

    Args:
        source: The split as the student sees it.
        model: The teacher's backbone.
        variables: Its ``{"params", "batch_stats"}``.
        modality: What it reads.
        leave_out: Modalities that nobody but the teacher reads.
        batch_size: N of the pass that computes the outputs.

    Returns:
        A `Taught` split; ``source`` itself if all its outputs together, with their N rows of
        logits and features, would take more than `LIMIT_MB`.
    """

    def seen(rows: Sequence[int]) -> Any:
        """What the teacher reads of some examples, stacked."""
        return jax.tree.map(
            lambda *each: np.stack(each), *(teachers.read(source[row], modality) for row in rows)
        )

    says = teachers.said(state.abstract_outputs(model, variables, seen([0])))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(says))
    if len(source) * size > LIMIT_MB * 2**20:
        return source

    variables = jax.device_put(variables)
    count = min(batch_size, len(source))
    batches = []
    for first in range(0, len(source), count):
        # The last row fills the last batch up, so that one shape is compiled.
        rows = [min(row, len(source) - 1) for row in range(first, first + count)]
        found = _said(model, variables, seen(rows))
        batches.append(jax.tree.map(np.asarray, found))
    outputs = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(source)], *batches)
    return Taught(source, outputs, leave_out)


@functools.partial(jax.jit, static_argnums=0)
def _said(model: nn.Module | Ensemble, variables: Params, x: Any) -> dict[str, Any]:
    return teachers.said(model.apply(variables, x, train=False))
