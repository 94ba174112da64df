"""Conversion of parameter trees to PyTorch state dicts and back: names and layouts only.

Three namings are known: ``torchvision``, of its ResNets (``conv1.weight``,
``layer1.0.bn2.running_var``, ``fc.bias``) and of its MobileNetV2; ``reproduction``, that of
FD-CMKD's public code, which puts a ResNet below ``net.`` and calls the last layer ``classifier``;
``huggingface``, that of BERT in huggingface/transformers, without a prefix.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fdcmkd_jax.interop.layouts import COUNTER, Naming, key_of, modern_names
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Params

StateDict = dict[str, np.ndarray]

COUNTERS = (COUNTER, "embeddings.position_ids")
"""Ends of the keys of whole numbers that a model does not need."""


@dataclass(frozen=True)
class Mismatch:
    """Differences between a state dict and the keys and shapes a model expects.

    Attributes:
        missing: Keys that the model needs and the state dict lacks.
        unexpected: Keys that the model does not have.
        misshapen: By key, the shape in the state dict and the expected one, in PyTorch's layout.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        lines = [f"missing: {key}" for key in self.missing]
        lines += [f"unexpected: {key}" for key in self.unexpected]
        lines += [
            f"misshapen: {key} is {list(shape)}, expected {list(expected)}"
            for key, (shape, expected) in self.misshapen.items()
        ]
        return "\n".join(lines)


class MismatchError(ConfigError):
    """The error for a state dict that does not fit the model, with all differences."""


def renamed(state: Mapping[str, np.ndarray]) -> StateDict:
    """Renames the keys of older files; see `layouts.modern_names`."""
    new = modern_names(state)
    return {new[key]: value for key, value in state.items()}


def to_state_dict(variables: Params, *, naming: Naming, step: int = 0) -> StateDict:
    """Converts a model's variables to a PyTorch state dict.

    Args:
        variables: ``{"params", "batch_stats"}`` of a model of `fdcmkd_jax.models`.
        naming: The naming of the keys.
        step: Number of batches seen, for BatchNorm's ``num_batches_tracked``.

    Returns:
        Arrays by key, in PyTorch's layouts: convolutions ``[out, in, h, w]``, dense
        layers ``[out, in]``.

    Raises:
        ConfigError: If a layer has no name in this naming.
    """
    result: StateDict = {}
    for path, leaf in _leaves(variables):
        result[key_of(path, naming)] = _to_torch(path, np.asarray(leaf))
        if path[-1] == "var":
            counter = key_of((*path[:-1], COUNTER), naming)
            result[counter] = np.asarray(step, np.int64)
    return {key: result[key] for key in sorted(result, key=_natural)}


def from_state_dict(state: Mapping[str, np.ndarray], like: Params, *, naming: Naming) -> Params:
    """Converts a PyTorch state dict to a model's variables, at least float32, with equal values.

    Args:
        state: Arrays by key.
        like: Variables of the expected model, as arrays or abstract arrays.
        naming: The naming of the keys.

    Returns:
        Host arrays in the structure of ``like``.

    Raises:
        MismatchError: If keys or shapes differ, naming each one.
    """
    mismatch = compare(state, like, naming=naming)
    if mismatch:
        raise MismatchError(f"the weights do not fit the model:\n{mismatch}")
    return merge(state, like, naming=naming)


def merge(state: Mapping[str, np.ndarray], start: Params, *, naming: Naming) -> Params:
    """Converts like `from_state_dict`; missing or misshapen arrays keep their values in ``start``.

    Args:
        state: Arrays by key; unexpected ones are ignored.
        start: Variables of the model.
        naming: The naming of the keys.
    """
    expected = _shapes(start, naming)

    def fill(path: tuple[Any, ...], leaf: Any) -> Any:
        names = tuple(part.key for part in path)
        key = key_of(names, naming)
        if key not in state or state[key].shape != expected[key]:
            return np.asarray(leaf)
        return _from_torch(names, state[key])

    return jax.tree_util.tree_map_with_path(fill, start)


def compare(state: Mapping[str, np.ndarray], like: Params, *, naming: Naming) -> Mismatch:
    """Lists the differences in keys and shapes; counters, which are not trained, are optional."""
    expected = _shapes(like, naming)
    shapes = {key: value.shape for key, value in state.items() if not key.endswith(COUNTERS)}
    return Mismatch(
        missing=tuple(key for key in expected if key not in shapes),
        unexpected=tuple(key for key in shapes if key not in expected),
        misshapen={
            key: (shapes[key], expected[key])
            for key in expected
            if key in shapes and shapes[key] != expected[key]
        },
    )


def batches_seen(state: Mapping[str, np.ndarray]) -> int:
    """Returns the largest of BatchNorm's batch counters; 0 if there is none."""
    counters = [int(value) for key, value in state.items() if key.endswith(COUNTER)]
    return max(counters, default=0)


def is_parameter(key: str) -> bool:
    """Returns whether a state dict's entry is trained, not a running statistic."""
    return not key.endswith((*COUNTERS, "running_mean", "running_var"))


def _leaves(variables: Params) -> list[tuple[tuple[str, ...], Any]]:
    """Returns (path, leaf) pairs; a path is ``("params", "layer1_0", "bn1", "scale")``."""
    leaves = jax.tree_util.tree_leaves_with_path(dict(variables))
    return [(tuple(part.key for part in path), leaf) for path, leaf in leaves]


def _shapes(variables: Params, naming: Naming) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each key in PyTorch."""
    return {
        key_of(path, naming): tuple(leaf.shape[axis] for axis in _axes(path, leaf.ndim, _TO_TORCH))
        for path, leaf in _leaves(variables)
    }


def _natural(key: str) -> list[Any]:
    """Sorts ``layer2`` before ``layer10``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", key)]


# Convolutions [h, w, in, out] -> [out, in, h, w]; dense layers [in, out] -> [out, in].
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
_FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}


def _axes(path: tuple[str, ...], rank: int, table: Mapping[int, tuple[int, ...]]) -> Any:
    """Returns the order of the axes; embeddings [rows, width] are the same on both sides."""
    return table.get(rank, range(rank)) if path[-1] == "kernel" else range(rank)


def _to_torch(path: tuple[str, ...], x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(_axes(path, x.ndim, _TO_TORCH)))


def _from_torch(path: tuple[str, ...], x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.promote_types(x.dtype, np.float32))  # Parameters are never halves here.
    return np.ascontiguousarray(wide.transpose(_axes(path, x.ndim, _FROM_TORCH)))
