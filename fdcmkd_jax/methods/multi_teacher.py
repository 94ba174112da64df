"""Several teachers for one student: a method towards each, weighted by fixed or learned gates."""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax.methods.base import Method, Terms, dense, named_key, pool
from fdcmkd_jax.registry import check_choice, unknown
from fdcmkd_jax.types import Outputs, Params, Targets

Gates = Literal["fixed", "learned"]


def multi_teacher(
    method: Method, gates: Gates = "fixed", shares: Mapping[str, float] = {}
) -> Method:
    r"""Distills from several teachers, for a direction such as ``audio+depth->image``.

    Each teacher :math:`m` is matched by a copy of ``method`` with parameters of its own. A term is
    the mean over the copies under the gates, :math:`\sum_m g_m \ell_m` with
    :math:`\sum_m g_m = 1`, so its weight means the same as with one teacher.

    Learned gates are a softmax over a linear layer on all teachers' features, equal at the start.
    They are trained to predict the label by the gated mixture of the teachers' predictions, and by
    nothing else: a gate that could lower the distillation loss would select the teacher that is
    easiest to match. This is our reading; the source gates modalities inside a fusion network.

    Args:
        method: A method that keeps its teacher frozen. In a config, its ``name`` and options.
        gates: ``"fixed"``: the shares. ``"learned"``: one gate per teacher for each example.
        shares: For fixed gates, each teacher's share by modality, scaled to sum to 1; equal shares
            if empty.

    Terms:
        TERM: ``[N]``, as ``method`` describes it.
        gate: ``[N]``, the loss of the label under the mixture; only with learned gates.

    Raises:
        ValueError: If the method trains its teacher or takes several itself, a share is not a
            positive number, or there are shares beside learned gates; from ``init`` if the shares
            do not name exactly the teachers.

    Source: learned gates over modalities after arXiv 2305.13583.

    Examples:
        >>> from fdcmkd_jax.methods import kd
        >>> multi_teacher(method=kd(), gates="learned").names
        ('divergence', 'gate')
    """
    check_choice("gates", gates, Gates)
    if method.needs.trained_teacher or method.needs.several_teachers:
        raise ValueError("multi_teacher needs a method that keeps one teacher frozen.")
    for modality, share in shares.items():
        if not isinstance(share, (int, float)) or not share > 0:
            raise ValueError(f"shares.{modality} must be a positive number, got {share!r}.")
    if shares and gates == "learned":
        raise ValueError("shares are for fixed gates; leave them out where gates are learned.")
    gate_terms = ("gate",) if gates == "learned" else ()
    return Method(
        init=functools.partial(_init, method, gates, shares),
        terms=functools.partial(_terms, method, shares),
        names=(*method.names, *gate_terms),
        label_terms=method.label_terms | set(gate_terms),
        pseudo_label_terms=method.pseudo_label_terms,
        map_terms=method.map_terms,
        heads=functools.partial(_heads, method),
        needs=method.needs._replace(several_teachers=True),
        dense=method.dense,
    )


def _init(
    method: Method,
    gates: Gates,
    shares: Mapping[str, float],
    key: Array,
    student: Outputs,
    teacher: Mapping[str, Outputs] | None,
    num_classes: int,
    train_targets: Targets | None = None,
) -> tuple[Params, Params]:
    if teacher is None:
        raise ValueError("multi_teacher needs at least one teacher.")
    for modality in shares:
        if modality not in teacher:
            raise unknown("teacher in shares:", modality, teacher)
    for modality in teacher:
        if shares and modality not in shares:
            raise ValueError(f"shares name each teacher or none; {modality!r} is missing.")
    pairs = {
        modality: method.init(
            named_key(key, modality), student, outputs, num_classes, train_targets
        )
        for modality, outputs in teacher.items()
    }
    params: dict[str, Any] = {"methods": {modality: pair[0] for modality, pair in pairs.items()}}
    if gates == "learned":
        width = sum(outputs.features.shape[-1] for outputs in teacher.values())
        params["gate"] = {
            "kernel": jnp.zeros((width, len(teacher))),
            "bias": jnp.zeros((len(teacher),)),
        }
    return params, {modality: memory for modality, (_, memory) in pairs.items()}


def _terms(
    method: Method,
    shares: Mapping[str, float],
    params: Params,
    memory: Params,
    student: Outputs,
    teacher: Mapping[str, Outputs],
    targets: Targets,
) -> tuple[Terms, Params]:
    log_gates = _log_gates(params.get("gate"), shares, teacher)
    by_teacher: dict[str, Terms] = {}
    after: dict[str, Params] = {}
    for modality, outputs in teacher.items():
        by_teacher[modality], after[modality] = method.terms(
            params["methods"][modality], memory.get(modality, {}), student, outputs, targets
        )
    # No distillation term trains the gates.
    gates = jax.lax.stop_gradient({m: jnp.exp(value) for m, value in log_gates.items()})
    gated = ({t: gates[m] * values[t] for t in method.names} for m, values in by_teacher.items())
    terms: Terms = jax.tree.map(lambda *parts: sum(parts), *gated)
    if "gate" in params:
        terms["gate"] = targets.loss(mixture(log_gates, teacher))
    return terms, after


def _heads(method: Method, params: Params, student: Outputs) -> dict[str, Array]:
    return {
        f"{modality}_{head}": logits
        for modality, method_params in params["methods"].items()
        for head, logits in method.heads(method_params, student).items()
    }


def mixture(
    log_gates: Mapping[str, Float[Array, " N"]], teacher: Mapping[str, Outputs]
) -> Float[Array, "N *positions K"]:
    """Computes the log-probabilities of the teachers' predictions mixed by their gates.

    Args:
        log_gates: By teacher, shape ``[N]``; their exponentials sum to 1.
        teacher: By teacher, ``logits [N, ..., K]``.

    Returns:
        Shape ``[N, ..., K]``, normalized.
    """
    votes = [
        jax.nn.log_softmax(outputs.logits)
        + log_gates[modality].reshape(-1, *[1] * (outputs.logits.ndim - 1))
        for modality, outputs in teacher.items()
    ]
    return jax.nn.logsumexp(jnp.stack(votes), axis=0)


def _log_gates(
    layer: Params | None, shares: Mapping[str, float], teacher: Mapping[str, Outputs]
) -> dict[str, Array]:
    """Computes each teacher's log gate, ``[N]``, from the layer or else from its share."""
    if layer is None:
        total = sum(shares.values()) if shares else len(teacher)
        return {
            modality: jnp.full(
                outputs.logits.shape[0],
                jnp.log(shares.get(modality, 1.0) / total),
                outputs.logits.dtype,
            )
            for modality, outputs in teacher.items()
        }
    order = sorted(teacher)  # A dictionary that has passed through jit is sorted.
    features = jnp.concatenate([pool(teacher[modality].features) for modality in order], axis=-1)
    gates = jax.nn.log_softmax(dense(layer, jax.lax.stop_gradient(features)))
    return {modality: gates[:, column] for column, modality in enumerate(order)}
