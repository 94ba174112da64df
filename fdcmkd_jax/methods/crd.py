"""CRD: contrast with a bank that remembers every training example's embedding."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import Method, dense, init_dense, pool
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
    r"""Tells an example's own embedding in the other modality from those of other classes.

    .. math::
        \ell_n = -\log \frac{o_0}{o_0 + c + \epsilon}
            - \sum_{k=1}^{K} \log \frac{c}{o_k + c + \epsilon}, \quad
        o_k = \frac{1}{Z} \exp(\langle m_k, v_n \rangle / \tau), \quad c = \frac{K}{M}

    where v is an embedding of the pooled features (a dense layer, then unit length), m_0 the bank's
    row of the same example in the other modality, the other m_k those of K examples of other
    classes, M the number of training examples, and Z the first batch's mean of the exponentials
    times M. Each side has a bank and is contrasted with the other's; after a step the batch's
    rows move to the new embeddings. Negatives are drawn anew for each example and step, evenly and
    with replacement (the public codes': without, where there are enough). An example whose label is
    hidden is every other's negative, and every other its.

    Args:
        negatives: K, at least 1; 16384 in the public code for CIFAR-100, 4096 in MST-Distill.
        size: Entries of an embedding, at least 1.
        temperature: tau, positive.
        momentum: How much of a bank's row stays, in [0, 1).
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        contrast: ``[N]``, both sides' sum; weight 0.8 in the public code.

    Raises:
        ValueError: If a value is out of its range, or when started without a teacher, on dense
            labels, on ids that repeat, or on a split of one class.

    Source: arXiv 1910.10699; megvii-research/mdistiller, HobbitLong/RepDistiller.
    """
    if negatives < 1 or size < 1:
        raise ValueError(f"negatives and size must be positive, got {negatives} and {size}.")
    losses.check_temperature(temperature)
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}.")

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        del num_classes
        if teacher is None:
            raise ValueError("crd needs a teacher's features.")
        sides = {"student": student, "teacher": teacher}
        return {
            side: init_dense(side_key, outputs.features.shape[-1], size)
            for side_key, (side, outputs) in zip(jax.random.split(key), sides.items(), strict=True)
        }

    def init_memory(key: Array, params: Params, everyone: Targets) -> Params:
        places = _places(everyone)
        bound = 1 / math.sqrt(size / 3)
        student_key, teacher_key, draw_key = jax.random.split(key, 3)
        shape = (len(places["ids"]), size)

        def side(bank_key: Array) -> Params:
            bank = jax.random.uniform(bank_key, shape, jnp.float32, -bound, bound)
            return {"bank": bank, "normalizer": jnp.zeros(())}

        return {
            "student": side(student_key),
            "teacher": side(teacher_key),
            "places": places,
            "rng": jax.random.key_data(draw_key),
            "step": jnp.zeros((), jnp.int32),
        }

    def contrast(
        embedding: Array, memory: Params, chosen: Array, mask: Array
    ) -> tuple[Float[Array, " N"], Float[Array, ""]]:
        """One side's loss against the other's bank, and Z."""
        bank = memory["bank"]
        # All products, then those wanted: less memory than the wanted rows, [N, 1 + K, size].
        products = jnp.take_along_axis(embedding @ bank.T, chosen, axis=1) / temperature
        mean = jnp.mean(jnp.exp(jax.lax.stop_gradient(products)), axis=1)
        first = batch.total(mean, mask, axis_name) / batch.count(mask, axis_name) * len(bank)
        normalizer = jnp.where(memory["normalizer"] > 0, memory["normalizer"], first)
        odds = jnp.exp(products) / normalizer
        expected = negatives / len(bank)
        log_sum = jnp.log(odds + expected + EPSILON)
        own = products[:, 0] - jnp.log(normalizer) - log_sum[:, 0]
        others = negatives * math.log(expected) - jnp.sum(log_sum[:, 1:], axis=1)
        return -own - others, normalizer

    def remember(bank: Array, rows: Array, embedding: Array, mask: Array) -> Array:
        """The bank after a batch, whose rows lie on all devices."""
        rows, embedding, mask = (batch.gather(x, axis_name) for x in (rows, embedding, mask))
        moved = momentum * bank[rows] + (1 - momentum) * jax.lax.stop_gradient(embedding)
        # Padding is sent outside the bank and dropped.
        rows = jnp.where(mask, rows, len(bank))
        return bank.at[rows].set(moved / losses.norm(moved), mode="drop")

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets, memory: Params
    ) -> tuple[dict[str, Array], Params]:
        rows = _rows(memory["places"], targets)
        key = jax.random.wrap_key_data(memory["rng"])
        key = jax.random.fold_in(key, memory["step"])
        others = _negatives(key, memory["places"], rows, negatives)
        chosen = jnp.concatenate([rows[:, None], others], axis=1)
        embeddings = {
            side: _embed(params[side], outputs)
            for side, outputs in (("student", student), ("teacher", teacher))
        }
        after = {**memory, "step": memory["step"] + 1}
        found = jnp.zeros(())
        for side, other in (("student", "teacher"), ("teacher", "student")):
            loss, normalizer = contrast(embeddings[side], memory[other], chosen, targets.mask)
            found += loss
            bank = remember(memory[other]["bank"], rows, embeddings[other], targets.mask)
            after[other] = {"bank": bank, "normalizer": normalizer}
        return {"contrast": found}, after

    return Method(init=init, terms=terms, names=("contrast",), init_memory=init_memory)


def _embed(params: Params, outputs: Outputs) -> Float[Array, "N d"]:
    embedding = dense(params, pool(at_least_float32(outputs.features)))
    return embedding / losses.norm(embedding)


def _places(everyone: Targets) -> dict[str, Array]:
    """Where each example lies in a bank, whose rows are in the order of classes.

    Returns:
        ``ids [M]`` in rising order and ``rows [M]``, the row of each; and by row ``first [M]`` and
        ``count [M]``: where the rows that are not its negatives begin, and how many there are.
    """
    if everyone.id is None or everyone.labels.ndim != 1:
        raise ValueError("crd needs examples with an id and one label each.")
    ids, labels = np.asarray(everyone.id), np.asarray(everyone.labels)
    labels = np.where(everyone.labelled, labels, UNKNOWN)
    if len(np.unique(ids)) < len(ids):
        raise ValueError("crd needs training examples with ids that differ.")
    order = np.lexsort((ids, labels))
    by_id = np.argsort(ids[order])
    _, first, group, count = np.unique(
        labels[order], return_index=True, return_inverse=True, return_counts=True
    )
    hidden = labels[order] == UNKNOWN
    places = {
        "ids": ids[order][by_id],
        "rows": by_id,
        "first": np.where(hidden, np.arange(len(ids)), first[group]),
        "count": np.where(hidden, 1, count[group]),
    }
    if np.any(places["count"] == len(ids)):
        raise ValueError("crd needs training examples of at least two classes.")
    return {name: jnp.asarray(values, jnp.int32) for name, values in places.items()}


def _rows(places: Params, targets: Targets) -> Int[Array, " N"]:
    """Each example's row of the banks; any row for padding."""
    if targets.id is None:
        raise ValueError("crd needs the ids of a batch's examples.")
    found = jnp.searchsorted(places["ids"], targets.id)
    return places["rows"][jnp.minimum(found, len(places["ids"]) - 1)]


def _negatives(
    key: Array, places: Params, rows: Int[Array, " N"], negatives: int
) -> Int[Array, "N negatives"]:
    """Rows of other classes; each example's own draw, wherever in the batch it lies."""

    def draw(row: Array) -> Array:
        first, count = places["first"][row], places["count"][row]
        others = len(places["ids"]) - count
        drawn = jax.random.randint(jax.random.fold_in(key, row), (negatives,), 0, others)
        return jnp.where(drawn < first, drawn, drawn + count)

    return jax.vmap(draw)(rows)
