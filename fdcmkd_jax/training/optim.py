"""Schedules and optimizers from keywords."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdcmkd_jax.registry import ConfigError, constructor
from fdcmkd_jax.types import Params

SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "polynomial": lambda peak, end, steps, power: optax.polynomial_schedule(
        peak, end, power, steps
    ),
    "cosine": lambda peak, end, steps, power: optax.cosine_decay_schedule(peak, steps, end / peak),
    "constant": lambda peak, end, steps, power: optax.constant_schedule(peak),
}


def schedule(
    *,
    learning_rate: float,
    num_epochs: int,
    steps_per_epoch: int,
    name: Literal["polynomial", "cosine", "constant"] = "polynomial",
    end_learning_rate: float = 1e-4,
    power: float = 0.9,
    warmup_steps: int = 0,
    per: Literal["epoch", "step"] = "epoch",
) -> optax.Schedule:
    r"""Builds the schedule of the learning rate.

    The polynomial form is the paper's, with e the epoch of E:

    .. math:: \eta(e) = \eta_{end} + (\eta_0 - \eta_{end}) (1 - e / E)^{p}

    Args:
        learning_rate: Rate at the start of the decay, positive.
        num_epochs: E, the length of the decay in epochs.
        steps_per_epoch: Steps in an epoch.
        name: Shape of the decay.
        end_learning_rate: Rate the decay tends to; unused by ``"constant"``.
        power: p, of the polynomial.
        warmup_steps: Steps over which the rate first rises from zero in proportion; the decay runs
            through them as well.
        per: Change the decayed rate with each epoch (the public code) or with each step.

    Returns:
        A function from the step's number (from 0) to the learning rate.

    Raises:
        ValueError: If the name or ``per`` is unknown or a number is out of range.

    Source: arXiv 2511.19887's public code: 1e-2 to 1e-4 with p = 0.9 over 100 epochs.

    Examples:
        >>> rate = schedule(learning_rate=0.1, num_epochs=100, steps_per_epoch=3)
        >>> [round(float(rate(step)), 4) for step in (0, 2, 3, 297)]
        [0.1, 0.1, 0.0991, 0.0017]
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule must be one of {sorted(SCHEDULES)}, got {name!r}.")
    if per not in ("epoch", "step"):
        raise ValueError(f"per must be 'epoch' or 'step', got {per!r}.")
    if not 0 < learning_rate < math.inf or not 0 <= end_learning_rate < math.inf:
        raise ValueError(
            "learning_rate must be positive and end_learning_rate not negative, both finite, "
            f"got {learning_rate} and {end_learning_rate}."
        )
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}.")
    stride = steps_per_epoch if per == "epoch" else 1
    decay = SCHEDULES[name](
        learning_rate, end_learning_rate, num_epochs * steps_per_epoch // stride, power
    )

    def rate(step: jax.typing.ArrayLike) -> jax.Array:
        # As floats of the default width: dividing int32 gives float32 even where that is float64.
        count = jnp.asarray(step)
        warm = jnp.minimum(1.0, (count + 1).astype(float) / max(warmup_steps, 1))
        return warm * decay((count // stride).astype(float))

    return rate


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": lambda rate, momentum, weight_decay: optax.chain(
        # PyTorch's order: decay enters the momentum.
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.sgd(rate, momentum=momentum),
    ),
    "adamw": lambda rate, momentum, weight_decay: optax.adamw(
        rate, b1=momentum, weight_decay=weight_decay
    ),
}


class Optimizer(NamedTuple):
    """An optimizer.

    Attributes:
        transformation: The optax transformation.
        schedule: The learning rate by step, for the log.
    """

    transformation: optax.GradientTransformation
    schedule: optax.Schedule


def make(
    *,
    num_epochs: int,
    steps_per_epoch: int,
    name: str = "sgd",
    learning_rate: float = 0.1,
    end_learning_rate: float = 1e-4,
    schedule_name: Literal["polynomial", "cosine", "constant"] = "polynomial",
    power: float = 0.9,
    warmup_steps: int = 0,
    per: Literal["epoch", "step"] = "epoch",
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    max_gradient_norm: float = 0.0,
    backbone_scale: float = 1.0,
    decay_vectors: bool = True,
) -> Optimizer:
    """Builds an optimizer and the schedule it follows.

    Args:
        num_epochs: Length of the decay in epochs.
        steps_per_epoch: Steps in an epoch.
        name: ``"sgd"`` (the paper) or ``"adamw"``; or the import path of a function
            ``(schedule, momentum, weight_decay) -> optax.GradientTransformation``.
        learning_rate: See `schedule`.
        end_learning_rate: See `schedule`.
        schedule_name: ``name`` of `schedule`.
        power: See `schedule`.
        warmup_steps: See `schedule`.
        per: See `schedule`.
        momentum: SGD's momentum, or AdamW's first decay rate; in [0, 1).
        weight_decay: L2 decay of the parameters (decoupled in AdamW), not negative.
        max_gradient_norm: Gradients are scaled down to this global norm; 0 for no limit.
        backbone_scale: Rate of a model's backbone as a multiple of ``learning_rate``, which its
            classifier and the method's parameters follow; 0 freezes it.
        decay_vectors: Decay parameters with one axis, too: biases, and the scales of normalization.

    Returns:
        The transformation and its schedule.

    Raises:
        ValueError: If a name is unknown or a number is out of range.
    """
    make_transformation = constructor("optimizer", OPTIMIZERS, name)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}.")
    if weight_decay < 0 or max_gradient_norm < 0 or backbone_scale < 0:
        raise ValueError(
            "weight_decay, max_gradient_norm and backbone_scale must not be negative, "
            f"got {weight_decay}, {max_gradient_norm} and {backbone_scale}."
        )
    rate = schedule(
        learning_rate=learning_rate,
        num_epochs=num_epochs,
        steps_per_epoch=steps_per_epoch,
        name=schedule_name,
        end_learning_rate=end_learning_rate,
        power=power,
        warmup_steps=warmup_steps,
        per=per,
    )
    clip = optax.clip_by_global_norm(max_gradient_norm) if max_gradient_norm else optax.identity()
    transformation = make_transformation(rate, momentum, weight_decay)
    if backbone_scale != 1 or not decay_vectors:
        transformation = optax.multi_transform(
            {
                f"{part}_{kind}": make_transformation(part_rate, momentum, decay)
                for part, part_rate in (("head", rate), ("backbone", _scaled(rate, backbone_scale)))
                for kind, decay in (
                    ("matrices", weight_decay),
                    ("vectors", weight_decay if decay_vectors else 0.0),
                )
            },
            label_parts,
        )
    # Compiled, because the log would run its operations one by one.
    return Optimizer(optax.chain(clip, transformation), jax.jit(rate))


CLASSIFIERS = ("classifier", "fc")
"""Names of the layer of a model that is not its backbone."""


def label_parts(params: Params) -> Any:
    """Labels each parameter by its part and its rank.

    Args:
        params: ``{"model": ..., "method": ...}``, and ``"teacher"`` where the method trains it.

    Returns:
        The same tree of texts: ``backbone`` or ``head``, then ``_matrices``, or ``_vectors`` for
        parameters with one axis or none. The head is the classifier and the method's parameters.

    Raises:
        ConfigError: If a model has no layer named as in `CLASSIFIERS`.
    """
    for name in ("model", "teacher"):
        if name in params and not set(CLASSIFIERS) & set(params[name]):
            raise ConfigError(
                f"optim.backbone_scale and optim.decay_vectors need a model whose classifier is "
                f"named {' or '.join(CLASSIFIERS)}; this one has {', '.join(params[name])}."
            )

    def label(path: tuple[Any, ...], leaf: Any) -> str:
        tree, module = path[0].key, getattr(path[1], "key", "")
        is_head = tree == "method" or module in CLASSIFIERS
        return f"{'head' if is_head else 'backbone'}_{'matrices' if leaf.ndim > 1 else 'vectors'}"

    return jax.tree_util.tree_map_with_path(label, params)


def _scaled(rate: optax.Schedule, factor: float) -> optax.Schedule:
    return lambda step: factor * rate(step)
