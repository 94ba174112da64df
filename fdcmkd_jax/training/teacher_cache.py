"""Outputs of a frozen teacher, computed once instead of in every step."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from flax import linen as nn

from fdcmkd_jax.data.base import Example, Source, Transform
from fdcmkd_jax.data.host import AsEvaluated, HostStage
from fdcmkd_jax.data.index import read_index
from fdcmkd_jax.training.devices import Devices
from fdcmkd_jax.training.forward import forward_program
from fdcmkd_jax.training.state import abstract_outputs
from fdcmkd_jax.types import Params, to_record

LIMIT_MB = 256
"""Limit of the outputs kept in memory; larger outputs go to a file."""

FILE_LIMIT_MB = 8192
"""Limit of the outputs kept in a file; a teacher with larger outputs runs in every step."""


@runtime_checkable
class OutputRows(Protocol):
    """A teacher's outputs by row."""

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Returns the outputs of one example, as `types.from_record` takes them once stacked."""
        ...


class RowsInMemory:
    """Outputs as arrays.

    Args:
        outputs: ``logits [N, ..., K]`` and ``features [N, ..., D]``.
    """

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self._outputs = outputs

    def __getitem__(self, row: int) -> dict[str, Any]:
        return jax.tree.map(lambda rows: rows[row], self._outputs)


class RowsInFile:
    """Outputs in an array_record file: the bytes of one example's arrays a record.

    Args:
        path: The file.
        shapes: The shapes and dtypes of one example's outputs.
    """

    def __init__(self, path: Path, shapes: Mapping[str, Any]) -> None:
        self._records = ArrayRecordDataSource([str(path)])
        self._leaves, self._structure = jax.tree.flatten(shapes)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> dict[str, Any]:
        record, start, arrays = self._records[row], 0, []
        for leaf in self._leaves:
            count = math.prod(leaf.shape)
            flat = np.frombuffer(record, leaf.dtype, count, start)
            arrays.append(flat.reshape(leaf.shape))
            start += flat.nbytes
        return jax.tree.unflatten(self._structure, arrays)


class TaughtSource:
    """A split whose records hold teachers' outputs, and no modality that nobody reads then.

    Args:
        source: The split.
        outputs: Rows of outputs in the order of the split, by the teacher's modality.
        leave_out: Keys of the records to leave out.
    """

    def __init__(
        self, source: Source, outputs: Mapping[str, OutputRows], leave_out: Iterable[str] = ()
    ) -> None:
        self._source, self._outputs, self._left_out = source, dict(outputs), set(leave_out)
        self.index = read_index(source)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        example = self._source[index]
        kept = {key: value for key, value in example.items() if key not in self._left_out}
        return {**kept, "teacher": {name: rows[index] for name, rows in self._outputs.items()}}


def cache_teacher_outputs(
    source: Source,
    transform: Transform | None,
    model: nn.Module,
    variables: Params,
    modality: str,
    devices: Devices,
    *,
    batch_size: int,
    spill_to: Path,
) -> OutputRows | None:
    """Computes a teacher's outputs on a training split, if they are small enough to keep.

    For a teacher whose input of an example is the same in every epoch. Where pairs are broken it is
    the partner's input, so a control has the outputs it would have had. Maps are not kept.

    Args:
        source: The split as the students see it.
        transform: Makes an example of a record; None where records are examples. The teacher reads
            examples as evaluation sees them.
        model: The teacher's backbone.
        variables: Its ``{"params", "batch_stats"}``.
        modality: The modality it reads.
        devices: Devices of this process.
        batch_size: N of the pass that computes the outputs, a multiple of the devices.
        spill_to: File for outputs that would take more than `LIMIT_MB` in memory, all N rows of
            logits and features together. A complete one of an earlier call is used again.

    Returns:
        The rows; None if they would take more than `FILE_LIMIT_MB`.
    """
    stage = HostStage(transform, (), (modality,))
    inputs = functools.partial(_stacked_inputs, AsEvaluated(source, stage), modality)
    batch_shapes = to_record(abstract_outputs(model, variables, inputs([0])))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch_shapes)
    example_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    if len(source) * example_bytes > FILE_LIMIT_MB * 2**20:
        return None
    batches = _run_over(len(source), model, variables, inputs, devices, batch_size)
    if len(source) * example_bytes <= LIMIT_MB * 2**20:
        return RowsInMemory(jax.tree.map(lambda *parts: np.concatenate(parts), *batches))
    if not spill_to.is_file():
        _write(spill_to, batches)
    return RowsInFile(spill_to, shapes)


def _stacked_inputs(source: Source, modality: str, rows: Sequence[int]) -> Any:
    """Stacks the teacher's inputs of some examples; a broken pair's is the partner's."""
    examples = (source[row] for row in rows)
    inputs = [example.get("partner", example)[modality] for example in examples]
    return jax.tree.map(lambda *arrays: np.stack(arrays), *inputs)


def _run_over(
    size: int,
    model: nn.Module,
    variables: Params,
    inputs: Callable[[Sequence[int]], Any],
    devices: Devices,
    batch_size: int,
) -> Iterator[dict[str, Any]]:
    """Yields the teacher's outputs on the whole split, in its order, batch by batch."""
    forward = forward_program(devices, model)
    variables = devices.replicate(variables)
    for first in range(0, size, batch_size):
        # The last row fills the last batch, so that one shape is compiled.
        rows = [min(row, size - 1) for row in range(first, first + batch_size)]
        outputs = devices.gather(to_record(forward(variables, devices.split(inputs(rows)))))
        yield jax.tree.map(lambda x, kept=size - first: x[:kept], outputs)


def _write(path: Path, batches: Iterable[Mapping[str, Any]]) -> None:
    """Writes one record a row; the file appears under its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished_{path.name}")
    writer = ArrayRecordWriter(str(unfinished), "group_size:1")
    for outputs in batches:
        for rows in zip(*jax.tree.leaves(outputs), strict=True):
            writer.write(b"".join(row.tobytes() for row in rows))
    writer.close()
    unfinished.replace(path)
