"""MST-Distill: several specialized teachers, of which a gate selects one for each example."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import (
    Method,
    Needs,
    Terms,
    check_one_prediction,
    dense,
    init_dense,
    pool,
    read,
)
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

Balance = Literal["kl", "cv"]

HEADS = 3
"""Number of heads of a mask's attention."""


def mst(
    stages: Sequence[str] = (),
    start_steps: int = 50,
    mask_steps: int = 50,
    size: int = 12,
    temperature: float = 4.0,
    balance: Balance = "kl",
    axis_name: str | None = None,
) -> Method:
    r"""Builds several masked specialists from one teacher, and routes each example to one of them.

    A specialist reads one of the teacher's stages: a classifier on the pooled map, weighted channel
    by channel by a mask. A mask attends over the channels of its example (a dense layer to ``size``
    entries per channel, attention of 3 heads, a dense layer, sigmoid). In the first part student
    and specialists teach each other, which trains the classifiers. In the second part only the
    masks learn, from the student's predictions. In the third part the specialists stay fixed, and
    the student learns from the specialist that the gate, a softmax of two dense layers on its
    logits, ranks first for the example. As in the public code, the choice of the gate has no
    gradient: the gate learns from ``balance`` alone.

    Reduced to a pair of modalities with one frozen teacher. Left out: the multimodal teacher beside
    that of one modality (so specialists are two stages of one teacher, not of two), training these
    with the student at the start, passing the masked map on through the rest of the network (a
    method reads the outputs of a model, not its layers; hence the classifiers), more than one
    teacher for an example, and stopping the student's own loss while the masks learn. A mask has
    ``size`` entries per channel; the public code has half as many as there are channels.

    Args:
        stages: The maps that the specialists read, at least two; empty for the teacher's last two.
        start_steps: Number of steps of the first part, at least 1; one epoch in the public code.
        mask_steps: Number of steps of the second part, at least 1; one epoch.
        size: Number of entries per channel in a mask, a positive multiple of 3.
        temperature: T, positive.
        balance: Measure of uneven use of the specialists. ``"kl"``: the divergence of even use from
            the mean of the gates, divided by their number. ``"cv"``: the deviation over the mean of
            their sums.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        start: ``[N]``, the mean of the classifiers' losses in the first part, else 0.
        mutual: ``[N]``, in the first part the student's softened divergence from the teacher, plus
            the mean of those between it and each classifier, both ways; else 0.
        mask: ``[N]``, in the second part the mean of the masked specialists' softened divergences
            from the student; else 0.
        route: ``[N]``, in the third part the divergence of the student from the selected
            specialist; else 0.
        balance: ``[N]``, in the third part the same for every example; else 0.

    Raises:
        ValueError: If a value is out of its range, or from ``init`` if there is no teacher, there
            are fewer than two stages, or the logits do not have shape ``[N, K]``.
        ConfigError: From ``init``, if the teacher has no such stage.

    Source: arXiv 2507.07015; Gray-OREO/MST-Distill.
    """
    if start_steps < 1 or mask_steps < 1:
        raise ValueError(
            f"start_steps and mask_steps must be positive, got {start_steps} and {mask_steps}."
        )
    if size < 1 or size % HEADS:
        raise ValueError(f"size must be a positive multiple of {HEADS}, got {size}.")
    losses.check_temperature(temperature)
    check_choice("balance", balance, Balance)
    options = _Options(start_steps, mask_steps, temperature, balance, axis_name)
    return Method(
        init=functools.partial(_init, stages, size),
        terms=functools.partial(_terms, options),
        names=("start", "mutual", "mask", "route", "balance"),
        label_terms=frozenset({"start"}),
        needs=Needs(teacher_maps=True),
    )


class _Options(NamedTuple):
    """Options of `mst` that its terms read."""

    start_steps: int
    mask_steps: int
    temperature: float
    balance: Balance
    axis_name: str | None


def _init(
    stages: Sequence[str],
    size: int,
    key: Array,
    student: Outputs,
    teacher: Outputs | None,
    num_classes: int,
    train_targets: Targets | None = None,
) -> tuple[Params, Params]:
    """Draws the specialists and the gate; the memory holds the specialists of the third part."""
    del train_targets
    check_one_prediction("mst", student)
    chosen = list(stages) or (sorted(teacher.maps)[-2:] if teacher is not None else [])
    if teacher is None or len(set(chosen)) < 2:
        raise ValueError("mst needs a teacher and at least two of its stages.")
    first, second, *keys = jax.random.split(key, 2 + len(chosen))
    specialists = {
        stage: _init_specialist(stage_key, read(teacher, stage).shape[-1], size, num_classes)
        for stage, stage_key in zip(chosen, keys, strict=True)
    }
    gate = {
        "hidden": init_dense(first, num_classes, 2 * num_classes),
        "last": init_dense(second, 2 * num_classes, len(chosen)),
    }
    kept = jax.tree.map(jnp.zeros_like, specialists)
    memory = {"specialists": kept, "step": jnp.zeros((), jnp.int32)}
    return {"specialists": specialists, "gate": gate}, memory


def _terms(
    options: _Options,
    params: Params,
    memory: Params,
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
) -> tuple[Terms, Params]:
    step, logits = memory["step"], at_least_float32(student.logits)
    last = options.start_steps + options.mask_steps
    trained = params["specialists"]
    # The third part uses the specialists as they are when it begins.
    kept = jax.tree.map(
        lambda new, old: jnp.where(step <= last, lax.stop_gradient(new), old),
        trained,
        memory["specialists"],
    )
    features = {stage: pool(at_least_float32(read(teacher, stage))) for stage in sorted(trained)}
    # The gate, and the mean use of each specialist over the batch.
    hidden = dense(params["gate"]["hidden"], logits)
    gates = jax.nn.softmax(dense(params["gate"]["last"], hidden))
    choices = jnp.stack([_specialist(kept[stage], x) for stage, x in features.items()], axis=1)
    use = batch.total(gates, targets.mask, options.axis_name)
    use /= batch.count(targets.mask, options.axis_name)
    divergence = functools.partial(losses.soft_divergence, temperature=options.temperature)
    start, mutual, mask = _specialist_terms(
        trained, features, logits, teacher.logits, targets, divergence
    )
    terms = {
        "start": start,
        "mutual": mutual,
        "mask": mask,
        "route": divergence(logits, route(choices, gates)),
        "balance": jnp.broadcast_to(balance_loss(use, options.balance), targets.mask.shape),
    }
    part = (step >= options.start_steps).astype(int) + (step >= last)
    part_of_term = {"start": 0, "mutual": 0, "mask": 1, "route": 2, "balance": 2}
    terms = {name: jnp.where(part == part_of_term[name], x, 0) for name, x in terms.items()}
    return terms, {"specialists": kept, "step": step + 1}


def _specialist_terms(
    specialists: Params,
    features: Mapping[str, Array],
    logits: Array,
    teacher_logits: Array,
    targets: Targets,
    divergence: Callable[[Array, Array], Array],
) -> tuple[Array, Array, Array]:
    """Computes ``start``, ``mutual`` and ``mask`` for all parts, each ``[N]``."""

    def mean_of(loss: Callable[[str, Array], Array]) -> Float[Array, " N"]:
        by_stage = [loss(stage, x) for stage, x in features.items()]
        return sum(by_stage, start=jnp.zeros(())) / len(by_stage)

    def start(stage: str, x: Array) -> Array:
        return targets.loss(dense(specialists[stage]["classifier"], x))

    def mutual(stage: str, x: Array) -> Array:
        stage_logits = dense(specialists[stage]["classifier"], x)
        return divergence(logits, stage_logits) + divergence(stage_logits, logits)

    def masked(stage: str, x: Array) -> Array:
        # Only the mask learns: its classifier gets no gradient after the first part.
        classifier = lax.stop_gradient(specialists[stage]["classifier"])
        specialist = {**specialists[stage], "classifier": classifier}
        return divergence(_specialist(specialist, x), lax.stop_gradient(logits))

    start_term = mean_of(start)
    mutual_term = divergence(logits, teacher_logits) + mean_of(mutual)
    return start_term, mutual_term, mean_of(masked)


def route(choices: Float[Array, "N E K"], gates: Float[Array, "N E"]) -> Float[Array, "N K"]:
    """Selects, for each example, the logits of the specialist that its gate ranks first.

    Args:
        choices: The specialists' logits, ``[N, E, K]``.
        gates: ``[N, E]``.

    Returns:
        Shape ``[N, K]``; no gradient reaches the gates.
    """
    best = jnp.argmax(gates, axis=1)[:, None, None]
    return jnp.take_along_axis(choices, best, axis=1)[:, 0]


def balance_loss(use: Float[Array, " E"], kind: Balance) -> Float[Array, ""]:
    """Measures how unevenly the specialists are used; 0 if evenly. See `mst`.

    Args:
        use: The mean of the gates over the batch, ``[E]``.
        kind: ``"kl"`` or ``"cv"``.

    Returns:
        A scalar.
    """
    count = len(use)
    if kind == "kl":
        return -jnp.mean(jnp.log(jnp.maximum(count * use, 1e-12))) / count
    mean = jnp.mean(use)
    return losses.norm(use - mean)[0] / (math.sqrt(count - 1) * mean)


def _specialist(params: Params, x: Float[Array, "N C"]) -> Float[Array, "N K"]:
    """Applies a classifier to channels weighted by the mask."""
    return dense(params["classifier"], x * _mask(params["mask"], x))


def _mask(params: Params, x: Float[Array, "N C"]) -> Float[Array, "N C"]:
    """Computes a weight in (0, 1) for each channel by attention over the example's channels."""
    # One token per channel, then self-attention over the channels.
    tokens = dense(params["tokens"], x).reshape(*x.shape, -1)
    query, key, value = (
        dense(params[name], tokens).reshape(*x.shape, HEADS, -1)
        for name in ("query", "key", "value")
    )
    products = jnp.einsum("nchd,nehd->nhce", query, key) / math.sqrt(query.shape[-1])
    attended = jnp.einsum("nhce,nehd->nchd", jax.nn.softmax(products), value)
    mixed = dense(params["mix"], attended.reshape(tokens.shape))
    return jax.nn.sigmoid(dense(params["weight"], mixed)[..., 0])


def _init_specialist(key: Array, width: int, size: int, num_classes: int) -> dict[str, Any]:
    """Draws a classifier and the layers of its mask."""
    shapes = {"tokens": (width, width * size), "weight": (size, 1)}
    shapes |= dict.fromkeys(("query", "key", "value", "mix"), (size, size))
    first, *keys = jax.random.split(key, 1 + len(shapes))
    return {
        "classifier": init_dense(first, width, num_classes),
        "mask": {
            name: init_dense(part_key, *shape)
            for part_key, (name, shape) in zip(keys, shapes.items(), strict=True)
        },
    }
