"""From a name and keywords in a config to the thing they describe, with errors that help."""

import difflib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

# What a config must hold where a constructor asks for one of these.
_PLAIN: Mapping[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
    Mapping: (Mapping, "keys and values"),
    Sequence: ((list, tuple), "a list"),
}


class ConfigError(ValueError):
    """A user's mistake: one line that names the thing, what was found and what was expected."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not among the known ones, with the nearest as a hint."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"unknown {kind} {name!r}; known: {', '.join(choices) or 'none'}.{hint}")


def check_choice(option: str, value: Any, choices: Any) -> None:
    """Raises ValueError unless the value is one of those a ``Literal`` lists.

    Args:
        option: The name of what is chosen, for the message.
        value: What was chosen.
        choices: The ``Literal``.

    Example:
        >>> check_choice("reduction", "max", typing.Literal["mean", "sum"])
        Traceback (most recent call last):
        ValueError: reduction must be 'mean' or 'sum', got 'max'.
    """
    known = [repr(choice) for choice in typing.get_args(choices)]
    if repr(value) not in known:
        listed = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
        raise ValueError(f"{option} must be {listed}, got {value!r}.")


def build(
    kind: str,
    table: Mapping[str, Callable[..., Any]],
    name: str,
    options: Mapping[str, Any],
    **context: Any,
) -> Any:
    """Calls the constructor listed under ``name`` with a config section as its keywords.

    Args:
        kind: What the table lists, for messages (``"method"``).
        table: Constructors by name.
        name: The entry to build.
        options: Keywords from the config.
        **context: Keywords the caller supplies, which a config may not set; a constructor that
            does not take one of them is called without it.

    Returns:
        What the constructor returns.

    Raises:
        ConfigError: If the name or a keyword is unknown, a required keyword is missing, a value is
            of another type than the constructor's annotation, or the constructor refuses it.
    """
    if name not in table:
        raise unknown(kind, name, table)
    parameters = inspect.signature(table[name]).parameters
    for key in options:
        if key not in parameters or key in context:
            raise unknown(f"option of {kind} {name!r}:", key, set(parameters) - set(context))
    supplied = {key: value for key, value in context.items() if key in parameters}
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key not in options and key not in supplied
    ]
    if missing:
        raise ConfigError(f"{kind} {name!r} needs the option {missing[0]!r}.")
    for key, value in options.items():
        _check_type(f"{kind} {name!r}: {key}", value, parameters[key].annotation)
    try:
        return table[name](**options, **supplied)
    except ConfigError:
        raise  # Of a part, which says all there is to say.
    except ValueError as error:
        raise ConfigError(f"{kind} {name!r}: {error}") from error


_BUILT: dict[tuple[Callable[..., Any], str], Any] = {}


def build_once(
    kind: str,
    table: Mapping[str, Callable[..., Any]],
    name: str,
    options: Mapping[str, Any],
    **context: Any,
) -> Any:
    """As `build`, but the same object for the same request, for things that never change.

    What JAX compiled for an object is found again by that object alone: the runs of a study that
    share a config's method, task and models share their programs.
    """
    try:
        key = (table[name], json.dumps([options, context], sort_keys=True))
    except (KeyError, TypeError):  # An unknown name, which `build` explains, or no plain data.
        return build(kind, table, name, options, **context)
    if key not in _BUILT:
        _BUILT[key] = build(kind, table, name, options, **context)
    return _BUILT[key]


def _check_type(what: str, value: Any, annotation: Any) -> None:
    """Raises ConfigError if the annotation is a plain one and the value of another type."""
    types, expected = _PLAIN.get(typing.get_origin(annotation) or annotation, (object, "anything"))
    is_flag = isinstance(value, bool)  # To Python also a number.
    if not isinstance(value, types) or (is_flag and types in (Integral, Real)):
        raise ConfigError(f"{what} must be {expected}, got {value!r}.")


def section(
    constructor: Callable[..., Any], name: str, options: Mapping[str, Any], **context: Any
) -> Any:
    """Builds the one thing a config section describes; see `build`."""
    return build("section", {name: constructor}, name, options, **context)
