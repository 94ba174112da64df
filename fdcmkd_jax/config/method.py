"""Builds the method of a config, with the methods it is made of."""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

from fdcmkd_jax import losses, methods
from fdcmkd_jax.config.resolve import check_named
from fdcmkd_jax.methods import Method
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.devices import AXIS


def build_method(settings: Mapping[str, Any]) -> Method:
    """Builds the method of a config section, the methods it is made of first.

    The same settings give the same object, so that the runs of a process share compiled programs.

    Args:
        settings: ``name`` and options. ``methods`` holds further sections by name (each named by
            its key unless it has a ``name``), ``method`` one section.

    Raises:
        ConfigError: If a name or an option is unknown, or a value is refused.
    """
    return _build_method(json.dumps(settings, sort_keys=False))


@functools.cache
def _build_method(text: str) -> Method:
    options = json.loads(text)
    if isinstance(options.get("methods"), dict):
        parts = options["methods"]
        for key, part in parts.items():
            if not isinstance(part, dict):
                raise ConfigError(f"method.methods.{key} must hold options, got {part!r}.")
        options["methods"] = {
            key: build_method({"name": key, **part}) for key, part in parts.items()
        }
    if isinstance(options.get("method"), dict):
        check_named("method.method", options["method"])
        options["method"] = build_method(options["method"])
    check_named("method", options)
    return methods.make(**options, axis_name=AXIS)


def check_weights(weights: Mapping[str, Any], method: Method) -> None:
    """Checks that there is one weight for each term, a finite number that is not negative.

    Raises:
        ConfigError: If not.
    """
    try:
        losses.check_weights(weights, ("task", *method.names))
    except ValueError as error:
        raise ConfigError(f"config section weights: {error}") from error
    for name, weight in weights.items():
        if not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise ConfigError(
                f"weights.{name} must be a finite number, not negative; got {weight!r}."
            )
