"""CRD: contrast with a bank of the embeddings of every training example."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, Needs, Terms, dense, init_dense, pool
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

EPSILON = 1e-7
"""Added to each denominator, as in the public codes."""

UNKNOWN = -1
"""The class, in the bank, of an example whose label is hidden."""


def crd(
    negatives: int = 4096,
    size: int = 128,
    temperature: float = 0.07,
    momentum: float = 0.5,
    axis_name: str | None = None,
) -> Method:
    r"""Separates an example's embedding in the other modality from those of other classes.

    .. math::
        \ell_n = -\log \frac{o_0}{o_0 + c + \epsilon}
            - \sum_{k=1}^{K} \log \frac{c}{o_k + c + \epsilon}, \quad
        o_k = \frac{1}{Z} \exp(\langle m_k, v_n \rangle / \tau), \quad c = \frac{K}{M}

    where v is an embedding of the pooled features (a dense layer, then unit length), m_0 the bank's
    row of the same example in the other modality, the other m_k those of K examples of other
    classes, M the number of training examples, and Z the first batch's mean of the exponentials
    times M. Each side has a bank and is contrasted with the other side's; after a step the batch's
    rows move to the new embeddings. Negatives are drawn anew for each example and step, uniformly
    and with replacement (in the public codes without, where there are enough). An example whose
    label is hidden is a negative of every other example, and every other example is one of its.

    Args:
        negatives: K, at least 1; 16384 in the public code for CIFAR-100, 4096 in MST-Distill.
        size: Length of an embedding, at least 1.
        temperature: tau, positive.
        momentum: Share of a bank's row that is kept, in [0, 1).
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        contrast: ``[N]``, the sum of both sides; weight 0.8 in the public code.

    Raises:
        ValueError: If a value is out of its range; from ``init`` without a teacher or the
            targets of the training split, on dense labels, on ids that repeat, or on one class.

    Source: arXiv 1910.10699; megvii-research/mdistiller, HobbitLong/RepDistiller.
    """
    if negatives < 1 or size < 1:
        raise ValueError(f"negatives and size must be positive, got {negatives} and {size}.")
    losses.check_temperature(temperature)
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}.")
    options = _Options(negatives, temperature, momentum, axis_name)
    return Method(
        init=functools.partial(_init, size),
        terms=functools.partial(_terms, options),
        names=("contrast",),
        needs=Needs(train_targets=True),
    )


class _Options(NamedTuple):
    """Options of `crd` that its terms read."""

    negatives: int
    temperature: float
    momentum: float
    axis_name: str | None


def _init(
    size: int,
    key: Array,
    student: Outputs,
    teacher: Outputs | None,
    num_classes: int,
    train_targets: Targets | None = None,
) -> tuple[Params, Params]:
    """Draws the embeddings' layers, and the two banks."""
    del num_classes
    if teacher is None:
        raise ValueError("crd needs a teacher's features.")
    if train_targets is None:
        raise ValueError("crd needs the targets of the training split.")
    sides = {"student": student, "teacher": teacher}
    params = {
        side: init_dense(side_key, outputs.features.shape[-1], size)
        for side_key, (side, outputs) in zip(jax.random.split(key), sides.items(), strict=True)
    }
    return params, _init_memory(jax.random.fold_in(key, 1), size, train_targets)


def _init_memory(key: Array, size: int, train_targets: Targets) -> Params:
    positions = _bank_positions(train_targets)
    bound = 1 / math.sqrt(size / 3)
    student_key, teacher_key, draw_key = jax.random.split(key, 3)
    shape = (len(positions["ids"]), size)

    def side(bank_key: Array) -> Params:
        bank = jax.random.uniform(bank_key, shape, jnp.float32, -bound, bound)
        return {"bank": bank, "normalizer": jnp.zeros(())}

    return {
        "student": side(student_key),
        "teacher": side(teacher_key),
        "positions": positions,
        "rng": jax.random.key_data(draw_key),
        "step": jnp.zeros((), jnp.int32),
    }


def _terms(
    options: _Options,
    params: Params,
    memory: Params,
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
) -> tuple[Terms, Params]:
    rows = bank_rows(memory["positions"], targets)
    key = jax.random.wrap_key_data(memory["rng"])
    key = jax.random.fold_in(key, memory["step"])
    negative_rows = draw_negatives(key, memory["positions"], rows, options.negatives)
    chosen = jnp.concatenate([rows[:, None], negative_rows], axis=1)
    embeddings = {
        side: _embed(params[side], outputs)
        for side, outputs in (("student", student), ("teacher", teacher))
    }
    after = {**memory, "step": memory["step"] + 1}
    contrast = jnp.zeros(())
    for side, opposite in (("student", "teacher"), ("teacher", "student")):
        loss, normalizer = _contrast(
            options, embeddings[side], memory[opposite], chosen, targets.mask
        )
        contrast += loss
        bank = _updated_bank(
            options, memory[opposite]["bank"], rows, embeddings[opposite], targets.mask
        )
        after[opposite] = {"bank": bank, "normalizer": normalizer}
    return {"contrast": contrast}, after


def _contrast(
    options: _Options, embedding: Array, memory: Params, chosen: Array, mask: Array
) -> tuple[Float[Array, " N"], Float[Array, ""]]:
    """Computes one side's loss against the other side's bank, and Z."""
    bank, axis_name = memory["bank"], options.axis_name
    # All products, then the chosen ones: less memory than the chosen rows, [N, 1 + K, size].
    products = jnp.take_along_axis(embedding @ bank.T, chosen, axis=1) / options.temperature
    # Z of the first batch; later batches keep it.
    mean = jnp.mean(jnp.exp(jax.lax.stop_gradient(products)), axis=1)
    first = batch.total(mean, mask, axis_name) / batch.count(mask, axis_name) * len(bank)
    normalizer = jnp.where(memory["normalizer"] > 0, memory["normalizer"], first)
    # The noise-contrastive loss of one positive and K negatives, in logarithms.
    odds = jnp.exp(products) / normalizer
    expected = options.negatives / len(bank)
    log_sum = jnp.log(odds + expected + EPSILON)
    positive = products[:, 0] - jnp.log(normalizer) - log_sum[:, 0]
    negative = options.negatives * math.log(expected) - jnp.sum(log_sum[:, 1:], axis=1)
    return -positive - negative, normalizer


def _updated_bank(
    options: _Options, bank: Array, rows: Array, embedding: Array, mask: Array
) -> Array:
    """Moves the batch's rows of a bank, which lie on all devices, to the new embeddings."""
    rows, embedding, mask = (batch.gather(x, options.axis_name) for x in (rows, embedding, mask))
    momentum = options.momentum
    moved = momentum * bank[rows] + (1 - momentum) * jax.lax.stop_gradient(embedding)
    # Padding is sent outside the bank and dropped.
    rows = jnp.where(mask, rows, len(bank))
    return bank.at[rows].set(moved / losses.norm(moved), mode="drop")


def _embed(params: Params, outputs: Outputs) -> Float[Array, "N d"]:
    embedding = dense(params, pool(at_least_float32(outputs.features)))
    return embedding / losses.norm(embedding)


def _bank_positions(train_targets: Targets) -> dict[str, Array]:
    """Locates each example in a bank, whose rows are in the order of classes.

    Returns:
        ``ids [M]`` in rising order and ``rows [M]``, the row of each; and by row ``first [M]`` and
        ``count [M]``: the start and the number of the rows that are not its negatives.
    """
    if train_targets.id is None or train_targets.labels.ndim != 1:
        raise ValueError("crd needs examples with an id and one label each.")
    ids, labels = np.asarray(train_targets.id), np.asarray(train_targets.labels)
    labels = np.where(train_targets.labelled, labels, UNKNOWN)
    if len(np.unique(ids)) < len(ids):
        raise ValueError("crd needs training examples with ids that differ.")
    order = np.lexsort((ids, labels))
    by_id = np.argsort(ids[order])
    _, first, group, count = np.unique(
        labels[order], return_index=True, return_inverse=True, return_counts=True
    )
    hidden = labels[order] == UNKNOWN
    positions = {
        "ids": ids[order][by_id],
        "rows": by_id,
        "first": np.where(hidden, np.arange(len(ids)), first[group]),
        "count": np.where(hidden, 1, count[group]),
    }
    if np.any(positions["count"] == len(ids)):
        raise ValueError("crd needs training examples of at least two classes.")
    return {name: jnp.asarray(values, jnp.int32) for name, values in positions.items()}


def bank_rows(positions: Params, targets: Targets) -> Int[Array, " N"]:
    """Looks up each example's row of the banks; any row for padding."""
    if targets.id is None:
        raise ValueError("crd needs the ids of a batch's examples.")
    index = jnp.searchsorted(positions["ids"], targets.id)
    return positions["rows"][jnp.minimum(index, len(positions["ids"]) - 1)]


def draw_negatives(
    key: Array, positions: Params, rows: Int[Array, " N"], negatives: int
) -> Int[Array, "N negatives"]:
    """Draws rows of other classes, for each example independently of its place in the batch."""

    def draw(row: Array) -> Array:
        first, count = positions["first"][row], positions["count"][row]
        num_negatives = len(positions["ids"]) - count
        drawn = jax.random.randint(jax.random.fold_in(key, row), (negatives,), 0, num_negatives)
        return jnp.where(drawn < first, drawn, drawn + count)

    return jax.vmap(draw)(rows)
