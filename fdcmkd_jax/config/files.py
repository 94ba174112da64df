"""Loading of config files."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fdcmkd_jax.registry import ConfigError


@functools.cache
def load_get_config(path: Path) -> Callable[..., Any]:
    """Loads the function ``get_config`` of a config file, which may lie in any folder.

    A file is executed once per process; later calls return the same function.

    Args:
        path: A Python file.

    Returns:
        The file's ``get_config``.

    Raises:
        ConfigError: If the file does not exist, is not a Python file, raises an error when it is
            executed, or defines no function ``get_config``.
    """
    if not path.is_file():
        raise ConfigError(f"the config file {path} does not exist.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(
            f"the config file {path} is not a Python file (its name must end in .py)."
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # A config file is code, so it may raise anything.
        raise ConfigError(
            f"cannot run the config file {path}: {type(error).__name__}: {error}"
        ) from error
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise ConfigError(f"the config file {path} defines no function get_config.")
    return get_config
