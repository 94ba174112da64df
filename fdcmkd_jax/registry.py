"""Builds the object that a name and its options in a config describe, with clear errors.

A name is an entry of a table (``"fd_cmkd"``), or the import path of a constructor outside this
package (``"my_package.my_module:my_method"``).
"""

import dataclasses
import difflib
import importlib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

# The type a config value must have where a constructor annotates one of these.
_PLAIN: Mapping[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
    Mapping: (Mapping, "keys and values"),
    Sequence: ((list, tuple), "a list"),
}

FORMER_NAMES: Mapping[str, str] = {"logit": "kd", "feat": "fitnet", "similarity": "sp"}
"""Names that methods and presets had in earlier versions, with the present ones."""


class ConfigError(ValueError):
    """A user's mistake, in one line that names the thing, its value and the expected one."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Makes the error for a name that is not among the known ones.

    Args:
        kind: Kind of the thing named, for the message (``"method"``).
        name: The name.
        known: The names that exist.

    Returns:
        An error whose message lists the known names and hints at the nearest, or says the present
        name of one that was renamed.
    """
    choices = sorted(known)
    renamed = FORMER_NAMES.get(name)
    if renamed in choices:
        return ConfigError(f"{kind} {name!r} was renamed: use {renamed!r}.")
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"unknown {kind} {name!r}; known: {', '.join(choices) or 'none'}.{hint}")


def check_choice(option: str, value: Any, choices: Any) -> None:
    """Checks that a value is one of those a ``Literal`` lists.

    Args:
        option: Name of the option, for the message.
        value: Its value.
        choices: The ``Literal``.

    Raises:
        ValueError: If it is another.

    Examples:
        >>> check_choice("reduction", "max", typing.Literal["mean", "sum"])
        Traceback (most recent call last):
        ValueError: reduction must be 'mean' or 'sum', got 'max'.
    """
    known = [repr(choice) for choice in typing.get_args(choices)]
    if repr(value) not in known:
        listed = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
        raise ValueError(f"{option} must be {listed}, got {value!r}.")


def constructor(
    kind: str, table: Mapping[str, Callable[..., Any]], name: str
) -> Callable[..., Any]:
    """Finds the constructor of a name.

    Args:
        kind: Kind of the things in the table, for messages (``"method"``).
        table: Constructors by name.
        name: A name in the table, or an import path ``package.module:attribute``.

    Returns:
        The constructor.

    Raises:
        ConfigError: If the name is unknown, the module cannot be imported, or it has no callable of
            that name.
    """
    if ":" not in name:
        if name not in table:
            raise unknown(kind, name, table)
        return table[name]
    path, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(path)
    except Exception as error:  # A user's module may raise anything while it is imported.
        hint = ""
        if isinstance(error, ModuleNotFoundError) and path.startswith(str(error.name)):
            hint = " Install it, or start the command in the folder that holds it."
        raise ConfigError(
            f"{kind} {name!r}: cannot import {path!r}: {type(error).__name__}: {error}.{hint}"
        ) from error
    if not hasattr(module, attribute):
        public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise ConfigError(f"{kind} {name!r}: {unknown(f'attribute of {path}:', attribute, public)}")
    target = getattr(module, attribute)
    if not callable(target):
        raise ConfigError(
            f"{kind} {name!r}: {attribute} must be callable, got {type(target).__name__}."
        )
    return target


def build(
    kind: str,
    table: Mapping[str, Callable[..., Any]],
    name: str,
    options: Mapping[str, Any],
    **context: Any,
) -> Any:
    """Calls the constructor of ``name`` with a config section as its keywords.

    Args:
        kind: Kind of the things in the table, for messages (``"method"``).
        table: Constructors by name.
        name: The entry to build, or an import path; see `constructor`.
        options: Keywords from the config.
        **context: Keywords the caller supplies, which a config may not set; a constructor that
            does not take one of them is called without it.

    Returns:
        The result of the constructor.

    Raises:
        ConfigError: If the name or a keyword is unknown, a required keyword is missing, a value has
            another type than the constructor's annotation, or the constructor refuses it.
    """
    make = constructor(kind, table, name)
    parameters = inspect.signature(make).parameters
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
        return make(**options, **supplied)
    except ConfigError:
        raise  # A nested part has named itself already.
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
    """Calls `build`, and returns the same object again for the same request.

    JAX finds a compiled program by the identity of the functions in it: runs in one process that
    share a config's method, task and models thus share their programs. For immutable objects only.
    """
    try:
        key = (constructor(kind, table, name), json.dumps([options, context], sort_keys=True))
    except TypeError:  # Options that are no plain data, such as methods made of methods.
        return build(kind, table, name, options, **context)
    if key not in _BUILT:
        _BUILT[key] = build(kind, table, name, options, **context)
    return _BUILT[key]


def build_section(
    make: Callable[..., Any], name: str, options: Mapping[str, Any], **context: Any
) -> Any:
    """Calls the one constructor of the config section ``name``; see `build`."""
    return build("section", {name: make}, name, options, **context)


def defaults(make: Callable[..., Any]) -> dict[str, Any]:
    """Returns the keywords of a constructor that have defaults, as plain data.

    A default that is no plain value (a mapping, say) stands as an empty section.
    """
    values: dict[str, Any] = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if parameter.default is dataclasses.MISSING or parameter.default is parameter.empty:
            continue
        plain = isinstance(parameter.default, (bool, int, float, str, list, tuple))
        values[name] = parameter.default if plain else {}
    return values


def parse_option(text: str) -> tuple[str, Any]:
    """Parses ``KEY=VALUE`` of a command line; the value is JSON, or else a text.

    Raises:
        ConfigError: If there is no key, or one that is no (dotted) name.

    Examples:
        >>> parse_option("data.image_size=64")
        ('data.image_size', 64)
    """
    key, equals, value = text.partition("=")
    if not equals or not all(part.isidentifier() for part in key.split(".")):
        raise ConfigError(f"an option is KEY=VALUE, got {text!r}.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _check_type(option: str, value: Any, annotation: Any) -> None:
    """Raises ConfigError if the annotation is a plain one and the value has another type."""
    types, expected = _PLAIN.get(typing.get_origin(annotation) or annotation, (object, "anything"))
    is_flag = isinstance(value, bool)  # To Python also a number.
    if not isinstance(value, types) or (is_flag and types in (Integral, Real)):
        raise ConfigError(f"{option} must be {expected}, got {value!r}.")
