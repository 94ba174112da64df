"""One student of several teachers: a method towards each, weighed by fixed or learned gates."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax.methods.base import Method, dense, named_key, pool
from fdcmkd_jax.tables import ConfigError, build, check_choice, unknown
from fdcmkd_jax.types import Outputs, Params, Targets

Gates = Literal["fixed", "learned"]


def multi_teacher(
    method: Mapping[str, Any],
    gates: Gates = "fixed",
    shares: Mapping[str, float] = {},
    axis_name: str | None = None,
) -> Method:
    r"""Distils from several teachers, for a direction such as ``audio+depth->image``.

    Each teacher :math:`m` is matched by a copy of ``method`` with parameters of its own. A term is
    the mean of the copies' under the gates, :math:`\sum_m g_m \ell_m` with :math:`\sum_m g_m = 1`,
    so its weight means what it means with one teacher.

    Learned gates are a softmax over a linear layer on all teachers' features, equal at the start.
    They are trained to predict the label by the gated mixture of the teachers' predictions, and by
    nothing else: a gate that could lower the distillation loss would choose the teacher that is
    easiest to match. That is our reading; the source gates modalities inside a fusion network.

    Args:
        method: The method's ``name`` and options.
        gates: ``"fixed"``: as ``shares`` say. ``"learned"``: one gate a teacher for each example.
        shares: For fixed gates, each teacher's share by modality, scaled to sum to 1; equal shares
            if empty.
        axis_name: The mapped axis, for methods that relate examples of a batch.

    Terms:
        TERM: ``[N]``, as ``method`` describes it.
        gate: ``[N]``, the label's loss under the mixture; only with learned gates.

    Raises:
        ConfigError: As `make` does; or if the method trains its teacher, takes several itself, or
            a share is not a positive number.

    Source: learned gates over modalities after arXiv 2305.13583.

    Example:
        >>> multi_teacher(method={"name": "logit"}, gates="learned").names
        ('divergence', 'gate')
    """
    from fdcmkd_jax.methods import TABLE  # Late: the table lists this function.

    check_choice("gates", gates, Gates)
    options = dict(method)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("method 'multi_teacher' needs a method with a name in it.")
    each: Method = build("method", TABLE, name, options, axis_name=axis_name)
    if each.trains_teacher or each.several_teachers:
        raise ConfigError(f"method 'multi_teacher' cannot use {name!r}: it keeps teachers frozen.")
    for modality, share in shares.items():
        if not isinstance(share, (int, float)) or not share > 0:
            raise ConfigError(f"shares.{modality} must be a positive number, got {share!r}.")
    if shares and gates == "learned":
        raise ConfigError("shares are for fixed gates; leave them out where gates are learned.")

    def init(
        key: Array, student: Outputs, teacher: Mapping[str, Outputs] | None, num_classes: int
    ) -> Params:
        if teacher is None:
            raise ValueError("multi_teacher needs at least one teacher.")
        for modality in shares:
            if modality not in teacher:
                raise unknown("teacher in shares:", modality, teacher)
        for modality in teacher:
            if shares and modality not in shares:
                raise ConfigError(f"shares name each teacher or none; {modality!r} is missing.")
        params: dict[str, Any] = {
            "methods": {
                modality: each.init(named_key(key, modality), student, outputs, num_classes)
                for modality, outputs in teacher.items()
            }
        }
        if gates == "learned":
            width = sum(outputs.features.shape[-1] for outputs in teacher.values())
            params["gate"] = {
                "kernel": jnp.zeros((width, len(teacher))),
                "bias": jnp.zeros((len(teacher),)),
            }
        return params

    def init_memory(key: Array, params: Params, everyone: Targets) -> Params:
        assert each.init_memory is not None
        return {
            modality: each.init_memory(named_key(key, modality), own, everyone)
            for modality, own in params["methods"].items()
        }

    def run(
        params: Params,
        student: Outputs,
        teacher: Mapping[str, Outputs],
        targets: Targets,
        memory: Params,
    ) -> tuple[dict[str, Array], Params]:
        log_gates = _log_gates(params.get("gate"), shares, teacher)
        found: dict[str, dict[str, Array]] = {}
        after: dict[str, Params] = {}
        for modality, outputs in teacher.items():
            found[modality], after[modality] = each.run(
                params["methods"][modality], student, outputs, targets, memory.get(modality, {})
            )
        chosen = jax.lax.stop_gradient({m: jnp.exp(value) for m, value in log_gates.items()})
        gated = ({t: chosen[m] * values[t] for t in each.names} for m, values in found.items())
        terms: dict[str, Array] = jax.tree.map(lambda *parts: sum(parts), *gated)
        if gates == "learned":
            terms["gate"] = targets.loss(mixture(log_gates, teacher))
        return terms, after if memory else memory

    def terms(
        params: Params, student: Outputs, teacher: Mapping[str, Outputs], targets: Targets
    ) -> dict[str, Array]:
        return run(params, student, teacher, targets, {})[0]

    def heads(params: Params, student: Outputs) -> dict[str, Array]:
        return {
            f"{modality}_{head}": logits
            for modality, own in params["methods"].items()
            for head, logits in each.heads(own, student).items()
        }

    learned = ("gate",) if gates == "learned" else ()
    return Method(
        init=init,
        terms=run if each.init_memory is not None else terms,
        names=(*each.names, *learned),
        label_terms=each.label_terms | set(learned),
        heads=heads,
        reads_teacher_maps=each.reads_teacher_maps,
        init_memory=init_memory if each.init_memory is not None else None,
        several_teachers=True,
    )


def mixture(
    log_gates: Mapping[str, Float[Array, " N"]], teacher: Mapping[str, Outputs]
) -> Float[Array, "N *positions K"]:
    """Log-probabilities of the teachers' predictions mixed by their gates.

    Args:
        log_gates: By teacher, shape ``[N]``; their exponentials sum to 1.
        teacher: By teacher, ``logits [N, ..., K]``.

    Returns:
        Shape ``[N, ..., K]``, normalised.
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
    """Each teacher's log gate, ``[N]``: of the layer if there is one, else of its share."""
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
    seen = jnp.concatenate([pool(teacher[modality].features) for modality in order], axis=-1)
    gates = jax.nn.log_softmax(dense(layer, jax.lax.stop_gradient(seen)))
    return {modality: gates[:, place] for place, modality in enumerate(order)}
