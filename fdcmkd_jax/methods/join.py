"""Several methods at once."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import Array

from fdcmkd_jax.methods.base import Method, Needs, Terms, named_key
from fdcmkd_jax.types import Outputs, Params, Targets


def join(methods: Mapping[str, Method]) -> Method:
    """Adds the terms of several methods.

    The name of a term, and of a head, is the method's name, an underscore and its own name, whether
    or not two methods share it: ``fd_cmkd_low``, ``kd_divergence``. A weight in a config thus keeps
    its name when a method is added. An underscore, because a dot in a flag opens a section.
    Parameters are nested under the names of the methods, and the initial parameters of a method do
    not depend on the methods it is joined with.

    Args:
        methods: Methods by name, at least one. In a config, each method's options by its name.

    Terms:
        METHOD_TERM: ``[N]``, as the method describes it.

    Raises:
        ValueError: If there is no method, or some take several teachers and others do not.

    Examples:
        >>> from fdcmkd_jax.methods import kd, rkd
        >>> join(methods={"kd": kd(temperature=2.0), "rkd": rkd()}).names
        ('kd_divergence', 'rkd_distance', 'rkd_angle')
    """
    if not methods:
        raise ValueError("methods must hold at least one method.")
    if len({part.needs.several_teachers for part in methods.values()}) > 1:
        raise ValueError(
            "cannot mix methods of one teacher and of several; put the join into multi_teacher."
        )
    prefixed = functools.partial(_prefixed, methods)
    return Method(
        init=functools.partial(_init, methods),
        terms=functools.partial(_terms, methods),
        names=tuple(prefixed(lambda part: part.names)),
        label_terms=frozenset(prefixed(lambda part: part.label_terms)),
        pseudo_label_terms=frozenset(prefixed(lambda part: part.pseudo_label_terms)),
        map_terms=frozenset(prefixed(lambda part: part.map_terms)),
        heads=functools.partial(_heads, methods),
        needs=Needs(*map(any, zip(*(part.needs for part in methods.values()), strict=True))),
        dense=all(part.dense for part in methods.values()),
    )


def _prefixed(methods: Mapping[str, Method], terms: Callable[[Method], Any]) -> list[str]:
    return [f"{name}_{term}" for name, part in methods.items() for term in terms(part)]


def _init(
    methods: Mapping[str, Method],
    key: Array,
    student: Outputs,
    teacher: Any,
    num_classes: int,
    train_targets: Targets | None = None,
) -> tuple[Params, Params]:
    pairs = {
        name: part.init(named_key(key, name), student, teacher, num_classes, train_targets)
        for name, part in methods.items()
    }
    params = {name: part_params for name, (part_params, _) in pairs.items()}
    return params, {name: memory for name, (_, memory) in pairs.items()}


def _terms(
    methods: Mapping[str, Method],
    params: Params,
    memory: Params,
    student: Outputs,
    teacher: Any,
    targets: Targets,
) -> tuple[Terms, Params]:
    terms: Terms = {}
    after: dict[str, Params] = {}
    for name, part in methods.items():
        # A teacher that one method trains is frozen for the others.
        outputs = teacher if part.needs.trained_teacher else jax.lax.stop_gradient(teacher)
        part_terms, after[name] = part.terms(
            params[name], memory.get(name, {}), student, outputs, targets
        )
        terms |= {f"{name}_{term}": value for term, value in part_terms.items()}
    return terms, after


def _heads(methods: Mapping[str, Method], params: Params, student: Outputs) -> dict[str, Array]:
    return {
        f"{name}_{head}": logits
        for name, part in methods.items()
        for head, logits in part.heads(params[name], student).items()
    }
