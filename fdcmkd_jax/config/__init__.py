"""Configs: presets, defaults and the checked plan of a run."""

from fdcmkd_jax.config.build import build
from fdcmkd_jax.config.directions import Direction
from fdcmkd_jax.config.method import build_method
from fdcmkd_jax.config.plan import Plan
from fdcmkd_jax.config.resolve import SECTIONS, TeacherOptions, differences, resolve

__all__ = [
    "SECTIONS",
    "Direction",
    "Plan",
    "TeacherOptions",
    "build",
    "build_method",
    "differences",
    "resolve",
]
