"""Distillation methods by name. A new method is one file and one line here."""

from collections.abc import Callable, Mapping
from typing import Any

from fdcmkd_jax.methods.afd import afd
from fdcmkd_jax.methods.base import Method, Needs, stateless
from fdcmkd_jax.methods.c2kd import c2kd
from fdcmkd_jax.methods.cirkd import cirkd
from fdcmkd_jax.methods.contrastive import contrastive
from fdcmkd_jax.methods.crd import crd
from fdcmkd_jax.methods.decouple import decouple
from fdcmkd_jax.methods.displacement import displacement
from fdcmkd_jax.methods.dist import dist
from fdcmkd_jax.methods.dkd import dkd
from fdcmkd_jax.methods.fd_cmkd import fd_cmkd
from fdcmkd_jax.methods.figkd import figkd
from fdcmkd_jax.methods.fitnet import fitnet
from fdcmkd_jax.methods.join import join
from fdcmkd_jax.methods.kd import kd
from fdcmkd_jax.methods.mgdfr import mgdfr
from fdcmkd_jax.methods.mlld import mlld
from fdcmkd_jax.methods.mse import mse
from fdcmkd_jax.methods.mst import mst
from fdcmkd_jax.methods.multi_teacher import multi_teacher
from fdcmkd_jax.methods.none import none
from fdcmkd_jax.methods.ofa import ofa
from fdcmkd_jax.methods.pkd import pkd
from fdcmkd_jax.methods.rkd import rkd
from fdcmkd_jax.methods.sp import sp
from fdcmkd_jax.registry import build_once

TABLE: Mapping[str, Callable[..., Method]] = {
    "afd": afd,
    "c2kd": c2kd,
    "cirkd": cirkd,
    "contrastive": contrastive,
    "crd": crd,
    "decouple": decouple,
    "displacement": displacement,
    "dist": dist,
    "dkd": dkd,
    "fd_cmkd": fd_cmkd,
    "fitnet": fitnet,
    "figkd": figkd,
    "join": join,
    "kd": kd,
    "mgdfr": mgdfr,
    "mlld": mlld,
    "mse": mse,
    "mst": mst,
    "multi_teacher": multi_teacher,
    "none": none,
    "ofa": ofa,
    "pkd": pkd,
    "rkd": rkd,
    "sp": sp,
}


def names() -> tuple[str, ...]:
    """Returns the names of the methods, sorted."""
    return tuple(sorted(TABLE))


def make(name: str, *, axis_name: str | None = None, **options: Any) -> Method:
    """Builds the method ``name``.

    Args:
        name: See `names`; or an import path ``package.module:attribute``.
        axis_name: The mapped axis over whose devices a batch lies; None if it lies on one. Passed
            to the methods that relate the examples of a batch to one another.
        **options: Keywords of the method; methods it is made of are `Method` objects.

    Raises:
        ConfigError: If the name or an option is unknown, or a value is refused.

    Examples:
        >>> make("fd_cmkd", cutoff=0.25).names
        ('low', 'high', 'align', 'auxiliary')
    """
    return build_once("method", TABLE, name, options, axis_name=axis_name)


__all__ = [
    "TABLE",
    "Method",
    "Needs",
    "afd",
    "c2kd",
    "cirkd",
    "contrastive",
    "crd",
    "decouple",
    "displacement",
    "dist",
    "dkd",
    "fd_cmkd",
    "figkd",
    "fitnet",
    "join",
    "kd",
    "make",
    "mgdfr",
    "mlld",
    "mse",
    "mst",
    "multi_teacher",
    "names",
    "none",
    "ofa",
    "pkd",
    "rkd",
    "sp",
    "stateless",
]
