"""Several methods at once."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array

from fdcmkd_jax.methods.base import Method, named_key
from fdcmkd_jax.tables import ConfigError, build
from fdcmkd_jax.types import Outputs, Params, Targets


def join(methods: Mapping[str, Mapping[str, Any]], axis_name: str | None = None) -> Method:
    """Adds up the terms of several methods.

    A term, and a head, is called by its method's name, an underscore and its own name, whether
    another method has one of that name or not: ``fd_cmkd_low``, ``logit_divergence``. So a weight
    in a config keeps its name when a method is added, and can be set by a flag, where a dot would
    mean a section. Parameters are nested under the methods' names, and each method starts from the
    same numbers whatever others it is joined with.

    Args:
        methods: Each method's options by its name; at least one.
        axis_name: The mapped axis, for those methods that relate examples of a batch.

    Terms:
        METHOD_TERM: ``[N]``, as the method describes it.

    Raises:
        ConfigError: As `make` does, of any of the methods; or if there is none.

    Example:
        >>> join(methods={"logit": {"temperature": 2.0}, "rkd": {}}).names
        ('logit_divergence', 'rkd_distance', 'rkd_angle')
    """
    from fdcmkd_jax.methods import TABLE  # Late: the table lists this function.

    if not methods:
        raise ConfigError("method 'join' needs at least one method in methods.")
    parts: dict[str, Method] = {}
    for name, options in methods.items():
        if not isinstance(options, Mapping):
            raise ConfigError(f"method 'join': methods.{name} must hold options, got {options!r}.")
        parts[name] = build("method", TABLE, name, options, axis_name=axis_name)
    kinds = {part.several_teachers for part in parts.values()}
    if len(kinds) > 1:
        raise ConfigError(
            "method 'join' cannot mix methods of one teacher and of several; put the join into "
            "multi_teacher's method."
        )

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        return {
            name: part.init(named_key(key, name), student, teacher, num_classes)
            for name, part in parts.items()
        }

    remembering = {name: part for name, part in parts.items() if part.init_memory is not None}

    def init_memory(key: Array, params: Params, everyone: Targets) -> Params:
        return {
            name: part.init_memory(named_key(key, name), params[name], everyone)
            for name, part in remembering.items()
            if part.init_memory is not None
        }

    def run(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets, memory: Params
    ) -> tuple[dict[str, Array], Params]:
        found: dict[str, Array] = {}
        after: dict[str, Params] = {}
        for name, part in parts.items():
            before = memory.get(name, {})
            # What one method trains is given to the others.
            seen = teacher if part.trains_teacher else jax.lax.stop_gradient(teacher)
            terms, after[name] = part.run(params[name], student, seen, targets, before)
            found |= {f"{name}_{term}": value for term, value in terms.items()}
        return found, {name: after[name] for name in remembering}

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        return run(params, student, teacher, targets, {})[0]

    def heads(params: Params, student: Outputs) -> dict[str, Array]:
        return {
            f"{name}_{head}": logits
            for name, part in parts.items()
            for head, logits in part.heads(params[name], student).items()
        }

    return Method(
        init=init,
        terms=run if remembering else terms,
        names=tuple(f"{name}_{term}" for name, part in parts.items() for term in part.names),
        label_terms=frozenset(
            f"{name}_{term}" for name, part in parts.items() for term in part.label_terms
        ),
        heads=heads,
        reads_teacher_maps=any(part.reads_teacher_maps for part in parts.values()),
        init_memory=init_memory if remembering else None,
        trains_teacher=any(part.trains_teacher for part in parts.values()),
        several_teachers=kinds == {True},
    )
