"""AFD: attention decides which of the student's stages learns from which of the teacher's."""

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
from fdcmkd_jax.methods.base import Method, dense, init_dense, pool
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32


def afd(size: int = 128, axis_name: str | None = None) -> Method:
    r"""Matches where maps are active: each stage of the teacher with those that resemble it.

    .. math:: \ell_n = \sum_j \sum_i a_{nji} \, \mathrm{mean}_{hw} (v(s^i)_n - v(t^j)_n)^2

    where v is the mean over channels of the squared map, of unit norm over positions, the student's
    averaged to the teacher's height and width; and a, a softmax over the student's stages i, of the
    products of keys from the student's and queries from the teacher's pooled maps. Channels, sizes
    and numbers of stages may differ. All BatchNorms take the batch's statistics: the term exists in
    training only.

    Args:
        size: Entries of a key and a query, at least 1.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        attention: ``[N]``; weight 200 in the public code, beside 0.9 times `logit` at T = 4.

    Raises:
        ValueError: If the size is below 1, or when started on a model without maps.

    Source: AAAI 2021, clovaai/attention-feature-distillation.
    """
    if size < 1:
        raise ValueError(f"size must be positive, got {size}.")

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
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
            "queries": {
                name: linear(x.shape[-1], size) for name, x in sorted(teacher.maps.items())
            },
            "bilinear": linear(size, size * len(teacher.maps)),
            "student_position": xavier_normal(next(keys), (len(student.maps), size), jnp.float32),
            "teacher_position": xavier_normal(next(keys), (len(teacher.maps), size), jnp.float32),
        }

    def linear(params: Params, x: Array, mask: Array) -> Array:
        """A dense layer and a BatchNorm."""
        return batch.normalize(params["norm"], dense(params["dense"], x), mask, axis_name)

    def attention(
        params: Params, student: Sequence[Array], teacher: Sequence[Array], mask: Array
    ) -> Float[Array, "N T S"]:
        keys = [
            jax.nn.relu(linear(params["keys"][name], pool(x), mask))
            for name, x in zip(sorted(params["keys"]), student, strict=True)
        ]
        queries = [
            linear(params["queries"][name], pool(x), mask)
            for name, x in zip(sorted(params["queries"]), teacher, strict=True)
        ]
        bilinear = linear(params["bilinear"], jnp.stack(keys, axis=1), mask)
        bilinear = bilinear.reshape(*bilinear.shape[:2], len(teacher), size)
        products = jnp.einsum("nstq,ntq->nts", bilinear, jnp.stack(queries, axis=1))
        position = params["teacher_position"] @ params["student_position"].T
        return jax.nn.softmax((products + position[None]) / math.sqrt(size))

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        s, t = _stages(student.maps), _stages(teacher.maps)
        distances = [
            [losses.mean_squared_error(_activity(x, like=y), _activity(y, like=y)) for x in s]
            for y in t
        ]
        stacked = jnp.stack([jnp.stack(row, axis=-1) for row in distances], axis=1)
        weights = attention(params, s, t, targets.mask)
        return {"attention": jnp.sum(weights * stacked, axis=(1, 2))}

    return Method(init=init, terms=terms, names=("attention",), reads_teacher_maps=True)


def _stages(maps: Mapping[str, Array]) -> list[Array]:
    """A model's maps in the order of their names."""
    return [at_least_float32(maps[name]) for name in sorted(maps)]


def _activity(x: Float[Array, "N H W C"], *, like: Float[Array, "N h w D"]) -> Array:
    """How active each position is, at another map's size, of unit norm: ``[N, h, w]``."""
    energy = jnp.mean(jnp.square(x), axis=-1)
    down, right = (_bins(x.shape[axis], like.shape[axis]) for axis in (1, 2))
    energy = jnp.einsum("hH,nHW,wW->nhw", down, energy, right)
    return energy / losses.norm(energy, axes=(1, 2), epsilon=1e-12)


def _bins(size: int, bins: int) -> np.ndarray:
    """Adaptive average pooling of ``size`` entries as a matrix ``[bins, size]``, as in PyTorch."""
    edges = [(i * size // bins, -((-(i + 1) * size) // bins)) for i in range(bins)]
    matrix = np.zeros((bins, size), np.float32)
    for row, (first, end) in zip(matrix, edges, strict=True):
        row[first:end] = 1 / (end - first)
    return matrix
