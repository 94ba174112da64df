"""MST-Distill: several specialised teachers, of which a gate chooses one for each example."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdcmkd_jax import losses
from fdcmkd_jax.methods import batch
from fdcmkd_jax.methods.base import (
    Method,
    dense,
    init_dense,
    needs_one_prediction,
    pool,
    read,
)
from fdcmkd_jax.tables import check_choice
from fdcmkd_jax.types import Outputs, Params, Targets, at_least_float32

Balance = Literal["kl", "cv"]

HEADS = 3
"""Of a mask's attention."""


def mst(
    stages: Sequence[str] = (),
    start_steps: int = 50,
    mask_steps: int = 50,
    size: int = 12,
    temperature: float = 4.0,
    balance: Balance = "kl",
    axis_name: str | None = None,
) -> Method:
    r"""Makes of one teacher several, masks what of each the student cannot follow, routes to one.

    A specialist reads one of the teacher's stages: a classifier on the pooled map, which a mask
    weights channel by channel. A mask attends over the channels of its example (a dense layer to
    ``size`` entries a channel, attention of 3 heads, a dense layer, sigmoid). First the classifiers
    start, student and specialists teaching each other; then only the masks learn, from the
    student's predictions; then all specialists stay as they are and the student learns from that
    which the gate, a softmax of two dense layers on its logits, ranks first for the example. As in
    the public code a gate's choice has no gradient: the gate learns from ``balance`` alone.

    Reduced to a pair of modalities with one frozen teacher. Left out: the multimodal teacher beside
    that of one modality (so specialists are two stages of one teacher, not of two), training these
    with the student at the start, passing the masked map on through the rest of the network (a
    method sees what a model returns, not its layers; hence the classifiers), more than one teacher
    for an example, and stopping the student's own loss while the masks learn. A mask has ``size``
    entries a channel where the public code has half as many as there are channels.

    Args:
        stages: Whose maps the specialists read, at least two; empty for the teacher's last two.
        start_steps: Steps of the first part, at least 1; one epoch in the public code.
        mask_steps: Steps of the second, at least 1; one epoch.
        size: Entries of a channel in a mask, a positive multiple of 3.
        temperature: T, positive.
        balance: How even use of the specialists is asked for: ``"kl"``, the divergence of the even
            use from the gates' mean, over their number; ``"cv"``, the deviation over the mean of
            their sums.
        axis_name: The mapped axis over whose devices the batch lies.

    Terms:
        start: ``[N]``, the mean of the classifiers' losses in the first part, else 0.
        mutual: ``[N]``, in the first part the student's softened divergence from the teacher, and
            the mean of those between it and each classifier, both ways; else 0.
        mask: ``[N]``, in the second part the mean of the masked specialists' softened divergences
            from the student; else 0.
        route: ``[N]``, in the third part the student's from the chosen specialist; else 0.
        balance: ``[N]``, in the third part the same for every example; else 0.

    Raises:
        ValueError: If a value is out of its range, or when started without a teacher, on fewer than
            two stages or on logits of another shape than ``[N, K]``.
        ConfigError: When started, if the teacher has no such stage.

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
    check = needs_one_prediction("mst")

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        check(key, student, teacher, num_classes)
        chosen = list(stages) or (sorted(teacher.maps)[-2:] if teacher is not None else [])
        if teacher is None or len(set(chosen)) < 2:
            raise ValueError("mst needs a teacher and at least two of its stages.")
        first, second, *keys = jax.random.split(key, 2 + len(chosen))
        return {
            "specialists": {
                stage: _init_specialist(
                    stage_key, read(teacher, stage).shape[-1], size, num_classes
                )
                for stage, stage_key in zip(chosen, keys, strict=True)
            },
            "gate": {
                "hidden": init_dense(first, num_classes, 2 * num_classes),
                "last": init_dense(second, 2 * num_classes, len(chosen)),
            },
        }

    def init_memory(key: Array, params: Params, everyone: Targets) -> Params:
        del key, everyone
        kept = jax.tree.map(jnp.zeros_like, params["specialists"])
        return {"specialists": kept, "step": jnp.zeros((), jnp.int32)}

    def divergence(student: Array, teacher: Array) -> Float[Array, " N"]:
        return losses.soft_divergence(student, teacher, temperature=temperature)

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets, memory: Params
    ) -> tuple[dict[str, Array], Params]:
        step, logits = memory["step"], at_least_float32(student.logits)
        last = start_steps + mask_steps
        trained = params["specialists"]
        # What the third part uses: the specialists as they are when it begins.
        kept = jax.tree.map(
            lambda new, old: jnp.where(step <= last, lax.stop_gradient(new), old),
            trained,
            memory["specialists"],
        )
        features = {
            stage: pool(at_least_float32(read(teacher, stage))) for stage in sorted(trained)
        }

        def mean_of(loss: Any) -> Float[Array, " N"]:
            found = [loss(stage, x) for stage, x in features.items()]
            return sum(found, start=jnp.zeros(())) / len(found)

        def mutual(stage: str, x: Array) -> Array:
            other = dense(trained[stage]["classifier"], x)
            return divergence(logits, other) + divergence(other, logits)

        def masked(stage: str, x: Array) -> Array:
            # Only the mask learns: its classifier gets no gradient after the first part.
            classifier = lax.stop_gradient(trained[stage]["classifier"])
            specialist = {**trained[stage], "classifier": classifier}
            return divergence(_specialist(specialist, x), lax.stop_gradient(logits))

        gate = dense(params["gate"]["hidden"], logits)
        gates = jax.nn.softmax(dense(params["gate"]["last"], gate))
        choices = jnp.stack([_specialist(kept[stage], x) for stage, x in features.items()], axis=1)
        use = batch.total(gates, targets.mask, axis_name)
        use /= batch.count(targets.mask, axis_name)
        found = {
            "start": mean_of(lambda stage, x: targets.loss(dense(trained[stage]["classifier"], x))),
            "mutual": divergence(logits, teacher.logits) + mean_of(mutual),
            "mask": mean_of(masked),
            "route": divergence(logits, route(choices, gates)),
            "balance": jnp.broadcast_to(balance_loss(use, balance), targets.mask.shape),
        }
        part = (step >= start_steps).astype(int) + (step >= last)
        of_part = {"start": 0, "mutual": 0, "mask": 1, "route": 2, "balance": 2}
        return {name: jnp.where(part == of_part[name], x, 0) for name, x in found.items()}, {
            "specialists": kept,
            "step": step + 1,
        }

    return Method(
        init=init,
        terms=terms,
        names=("start", "mutual", "mask", "route", "balance"),
        label_terms=frozenset({"start"}),
        init_memory=init_memory,
        reads_teacher_maps=True,
    )


def route(choices: Float[Array, "N E K"], gates: Float[Array, "N E"]) -> Float[Array, "N K"]:
    """Each example's logits by the specialist that its gate ranks first; no gradient to the gate.

    Args:
        choices: The specialists' logits, ``[N, E, K]``.
        gates: ``[N, E]``.

    Returns:
        Shape ``[N, K]``.
    """
    best = jnp.argmax(gates, axis=1)[:, None, None]
    return jnp.take_along_axis(choices, best, axis=1)[:, 0]


def balance_loss(use: Float[Array, " E"], kind: Balance) -> Float[Array, ""]:
    """How unevenly the specialists are used; 0 if evenly. See `mst`.

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
    """A classifier on channels that the mask weights."""
    return dense(params["classifier"], x * _mask(params["mask"], x))


def _mask(params: Params, x: Float[Array, "N C"]) -> Float[Array, "N C"]:
    """A weight in (0, 1) for each channel, by attention over the example's channels."""
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
