"""Labels and ids of a split, beside its examples."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.tasks import Task
from fdcmkd_jax.types import Targets


class Index(NamedTuple):
    """Labels and ids of a split, in its order.

    Attributes:
        labels: Shape ``[N, ...]``, int32; hidden ones included.
        ids: Shape ``[N]``, int32.
        labelled: Shape ``[N]``; False where the label is hidden from the student.
        teacher_ids: Shape ``[N]``, int32; the ids of the examples that the teacher reads.
    """

    labels: Int[np.ndarray, "N *positions"]
    ids: Int[np.ndarray, " N"]
    labelled: Bool[np.ndarray, " N"]
    teacher_ids: Int[np.ndarray, " N"]

    @classmethod
    def of(cls, labels: Int[np.ndarray, "N *positions"], ids: Int[np.ndarray, " N"]) -> "Index":
        """Makes the index of a split as it is: every label shown, every pair true."""
        return cls(labels, ids, np.ones(len(ids), bool), ids)

    def take(self, rows: Int[np.ndarray, " M"]) -> "Index":
        """Returns the index of some rows."""
        return Index(*(column[rows] for column in self))


def read_index(source: Source) -> Index:
    """Returns the index of a split.

    Args:
        source: A split. If it has an attribute ``index``, no example is read; otherwise all are.
    """
    index: Any = getattr(source, "index", None)
    if isinstance(index, Index):  # A list has a method of that name.
        return index
    examples = (source[row] for row in range(len(source)))
    rows = [
        (
            example["label"],
            example["id"],
            example.get("labelled", True),
            example.get("partner", example)["id"],
        )
        for example in examples
    ]
    return Index(*(np.stack(column) for column in zip(*rows, strict=True)))


class Indexed:
    """Some rows of a split, with their index.

    Args:
        source: The split.
        index: Its index.
        rows: The rows to keep, in this order; all by default.
    """

    def __init__(
        self, source: Source, index: Index, rows: Int[np.ndarray, " M"] | None = None
    ) -> None:
        self._source = source
        self._rows = np.arange(len(source)) if rows is None else rows
        self.index = index.take(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Example:
        return self._source[int(self._rows[position])]


def in_memory(source: Source) -> Source:
    """Reads every record of a split once, and keeps them as they are stored."""
    records = [source[row] for row in range(len(source))]
    index: Any = getattr(source, "index", None)
    return Indexed(records, index) if isinstance(index, Index) else records


def train_targets(source: Source, task: Task) -> Targets:
    """Makes the targets of a whole training split, in its order."""
    index = read_index(source)
    labels, ids, labelled = map(jnp.asarray, (index.labels, index.ids, index.labelled))
    return task.targets(
        labels, labelled=labelled, mask=jnp.asarray(np.ones(len(ids), bool)), id=ids
    )
