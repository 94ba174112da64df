"""AFD: attention assigns stages of the student to stages of the teacher."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fdcmkd_jax import losses
from fdcmkd_jax.initializers import xavier_normal
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import (
    Method,
    Needs,
    Terms,
    dense,
    init_dense,
    pool,
    stateless,
)
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def afd(size: int = 128, axis_name: str | None = None) -> Method:
    r"""Matches the activity of maps: each stage of the teacher with the stages that resemble it.

    .. math:: \ell_n = \sum_j \sum_i a_{nji} \, \mathrm{mean}_{hw} (v(s^i)_n - v(t^j)_n)^2

    where v is the mean over channels of the squared map, of unit norm over positions, the student's
    averaged to the teacher's height and width; and a, a softmax over the student's stages i, of the
    products of keys from the student's and queries from the teacher's pooled maps. Channels, sizes
    and numbers of stages may differ. All BatchNorms use the statistics of the batch: the term
    exists in training only.

    Args:
        size: Length of a key and of a query, at least 1.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        attention: ``[N]``; weight 200 in the public code, beside 0.9 times `kd` at T = 4.

    Raises:
        ValueError: If the size is below 1, or from ``init`` if a model has no maps.

    Source: AAAI 2021, clovaai/attention-feature-distillation.
    """
    if size < 1:
        raise ValueError(f"size must be positive, got {size}.")

    def terms(params: Params, student: Outputs, teacher: Outputs, targets: Targets) -> Terms:
        s, t = _stages(student.maps), _stages(teacher.maps)
        distances = [
            [losses.mean_squared_error(_activity(x, like=y), _activity(y, like=y)) for x in s]
            for y in t
        ]
        stacked = jnp.stack([jnp.stack(row, axis=-1) for row in distances], axis=1)
        weights = _attention(params, s, t, targets.mask, axis_name)
        return {"attention": jnp.sum(weights * stacked, axis=(1, 2))}

    return stateless(
        terms,
        names=("attention",),
        init=functools.partial(_init, size),
        map_terms=frozenset({"attention"}),
        needs=Needs(teacher_maps=True),
    )


def _init(
    size: int, key: Array, student: Outputs, teacher: Outputs | None, num_classes: int
) -> Params:
    """Draws the layers of keys and queries, and the embeddings of the stages' positions."""
    del num_classes
    if teacher is None or not student.maps or not teacher.maps:
        raise ValueError("afd needs a student and a teacher with maps of their stages.")
    keys = iter(jax.random.split(key, len(student.maps) + len(teacher.maps) + 3))

    def linear(size_in: int, size_out: int) -> dict[str, Any]:
        return {
            "dense": init_dense(next(keys), size_in, size_out),
            "norm": batch.init_normalize(size_out),
        }

    return {
        "keys": {name: linear(x.shape[-1], size) for name, x in sorted(student.maps.items())},
        "queries": {name: linear(x.shape[-1], size) for name, x in sorted(teacher.maps.items())},
        "bilinear": linear(size, size * len(teacher.maps)),
        "student_position": xavier_normal(next(keys), (len(student.maps), size), jnp.float32),
        "teacher_position": xavier_normal(next(keys), (len(teacher.maps), size), jnp.float32),
    }


def _attention(
    params: Params,
    student: Sequence[Array],
    teacher: Sequence[Array],
    mask: Array,
    axis_name: str | None,
) -> Float[Array, "N T S"]:
    """Computes, for each stage of the teacher, the weights of the student's stages."""

    def linear(layer: Params, x: Array) -> Array:
        return batch.normalize(layer["norm"], dense(layer["dense"], x), mask, axis_name)

    keys = [
        jax.nn.relu(linear(params["keys"][name], pool(x)))
        for name, x in zip(sorted(params["keys"]), student, strict=True)
    ]
    queries = [
        linear(params["queries"][name], pool(x))
        for name, x in zip(sorted(params["queries"]), teacher, strict=True)
    ]
    size = keys[0].shape[-1]
    # One projection of the keys for each stage of the teacher.
    bilinear = linear(params["bilinear"], jnp.stack(keys, axis=1))
    bilinear = bilinear.reshape(*bilinear.shape[:2], len(teacher), size)
    products = jnp.einsum("nstq,ntq->nts", bilinear, jnp.stack(queries, axis=1))
    position = params["teacher_position"] @ params["student_position"].T
    return jax.nn.softmax((products + position[None]) / math.sqrt(size))


def _stages(maps: Mapping[str, Array]) -> list[Array]:
    """Returns the maps of a model in the order of their names."""
    return [at_least_float32(maps[name]) for name in sorted(maps)]


def _activity(x: Float[Array, "N H W C"], *, like: Float[Array, "N h w D"]) -> Array:
    """Computes the activity of each position at the size of another map, of unit norm."""
    energy = jnp.mean(jnp.square(x), axis=-1)
    down, right = (_bins(x.shape[axis], like.shape[axis]) for axis in (1, 2))
    energy = jnp.einsum("hH,nHW,wW->nhw", down, energy, right)
    return energy / losses.norm(energy, axes=(1, 2), epsilon=1e-12)


def _bins(size: int, bins: int) -> np.ndarray:
    """Makes the matrix ``[bins, size]`` of PyTorch's adaptive average pooling."""
    edges = [(i * size // bins, -((-(i + 1) * size) // bins)) for i in range(bins)]
    matrix = np.zeros((bins, size), np.float32)
    for row, (first, end) in zip(matrix, edges, strict=True):
        row[first:end] = 1 / (end - first)
    return matrix
