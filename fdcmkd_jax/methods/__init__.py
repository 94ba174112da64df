"""Distillation methods by name. A new method is one file and one line here."""

from collections.abc import Callable, Mapping
from typing import Any

from fdcmkd_jax.methods.base import Method
from fdcmkd_jax.methods.fd_cmkd import fd_cmkd
from fdcmkd_jax.methods.logit import logit
from fdcmkd_jax.methods.mse import mse
from fdcmkd_jax.methods.none import none
from fdcmkd_jax.tables import build

TABLE: Mapping[str, Callable[..., Method]] = {
    "fd_cmkd": fd_cmkd,
    "logit": logit,
    "mse": mse,
    "none": none,
}


def names() -> tuple[str, ...]:
    """The known methods, sorted."""
    return tuple(sorted(TABLE))


def make(name: str, **options: Any) -> Method:
    """The method listed under ``name``.

    Raises:
        ConfigError: If the name or an option is unknown, or a value is refused.

    Example:
        >>> make("fd_cmkd", cutoff=0.25).names
        ('low', 'high', 'align', 'auxiliary')
    """
    return build("method", TABLE, name, options)


__all__ = ["TABLE", "Method", "fd_cmkd", "logit", "make", "mse", "names", "none"]
