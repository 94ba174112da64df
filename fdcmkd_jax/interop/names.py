"""Conversion of parameter trees to PyTorch state dicts and back: names and layouts only.

Two namings are known: ``torchvision`` (``conv1.weight``, ``layer1.0.bn2.running_var``,
``fc.bias``) and ``reproduction``, that of FD-CMKD's public code, which puts the backbone below
``net.`` and calls the last layer ``classifier``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Params

Naming = Literal["torchvision", "reproduction"]
NAMINGS: tuple[Naming, ...] = ("torchvision", "reproduction")
StateDict = dict[str, np.ndarray]

COUNTER = "num_batches_tracked"
_COLLECTIONS = {
    "params": {"scale": "weight", "kernel": "weight", "bias": "bias"},
    "batch_stats": {"mean": "running_mean", "var": "running_var"},
}


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


def guess_naming(keys: Iterable[str]) -> Naming:
    """Returns the naming that the keys of a state dict follow."""
    return "reproduction" if any(key.startswith("net.") for key in keys) else "torchvision"


def to_state_dict(variables: Params, *, naming: Naming, step: int = 0) -> StateDict:
    """Converts a ResNet's variables to a PyTorch state dict.

    Args:
        variables: ``{"params", "batch_stats"}`` of a model of `fdcmkd_jax.models`.
        naming: The naming of the keys.
        step: Number of batches seen, for BatchNorm's ``num_batches_tracked``.

    Returns:
        Arrays by key, in PyTorch's layouts: convolutions ``[out, in, h, w]``, dense
        layers ``[out, in]``.

    Raises:
        ConfigError: If a layer is not part of a ResNet.
    """
    result: StateDict = {}
    for path, leaf in _leaves(variables):
        result[_key(path, naming)] = _to_torch(np.asarray(leaf))
        if path[-1] == "var":
            counter = _key((*path[:-1], COUNTER), naming)
            result[counter] = np.asarray(step, np.int64)
    return {key: result[key] for key in sorted(result, key=_natural)}


def from_state_dict(state: Mapping[str, np.ndarray], like: Params, *, naming: Naming) -> Params:
    """Converts a PyTorch state dict to a ResNet's variables, at least float32, with equal values.

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
        key = _key(tuple(part.key for part in path), naming)
        if key not in state or state[key].shape != expected[key]:
            return np.asarray(leaf)
        return _from_torch(state[key])

    return jax.tree_util.tree_map_with_path(fill, start)


def compare(state: Mapping[str, np.ndarray], like: Params, *, naming: Naming) -> Mismatch:
    """Lists the differences in keys and shapes; BatchNorm's batch counters are optional."""
    expected = _shapes(like, naming)
    shapes = {key: value.shape for key, value in state.items() if not key.endswith(COUNTER)}
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
    return not key.endswith((COUNTER, "running_mean", "running_var"))


def _leaves(variables: Params) -> list[tuple[tuple[str, ...], Any]]:
    """Returns (path, leaf) pairs; a path is ``("params", "layer1_0", "bn1", "scale")``."""
    leaves = jax.tree_util.tree_leaves_with_path(dict(variables))
    return [(tuple(part.key for part in path), leaf) for path, leaf in leaves]


def _shapes(variables: Params, naming: Naming) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each key in PyTorch."""
    return {_key(path, naming): _torch_shape(leaf.shape) for path, leaf in _leaves(variables)}


def _key(path: tuple[str, ...], naming: Naming) -> str:
    """Maps ``("params", "layer1_0", "bn1", "scale")`` to ``layer1.0.bn1.weight``."""
    collection, *modules, name = path
    last = name if name == COUNTER else _COLLECTIONS.get(collection, {}).get(name)
    parts = [_module(module) for module in modules]
    if last is None or None in parts:
        raise ConfigError(f"only ResNets have PyTorch names; {'/'.join(path)} has none.")
    if naming == "torchvision":
        return ".".join([*map(str, parts), last])
    return f"classifier.{last}" if parts == ["fc"] else ".".join(["net", *map(str, parts), last])


def _module(name: str) -> str | None:
    """Returns a module's name in PyTorch; None if it is not part of a ResNet."""
    if re.fullmatch(r"layer\d+_\d+", name):
        return name.replace("_", ".")
    if re.fullmatch(r"fc|(conv|bn)\d", name):
        return name
    return {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}.get(name)


def _natural(key: str) -> list[Any]:
    """Sorts ``layer2`` before ``layer10``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", key)]


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in _TO_TORCH.get(len(shape), range(len(shape))))


# Convolutions [h, w, in, out] -> [out, in, h, w]; dense layers [in, out] -> [out, in].
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
_FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}


def _to_torch(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(_TO_TORCH.get(x.ndim, range(x.ndim))))


def _from_torch(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.promote_types(x.dtype, np.float32))  # Parameters are never halves here.
    return np.ascontiguousarray(wide.transpose(_FROM_TORCH.get(x.ndim, range(x.ndim))))
