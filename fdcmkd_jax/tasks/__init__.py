"""Tasks by name. A new task is one file and one line here."""

from collections.abc import Callable, Mapping
from typing import Any

from fdcmkd_jax.registry import build_once
from fdcmkd_jax.tasks.base import Task
from fdcmkd_jax.tasks.classification import classification
from fdcmkd_jax.tasks.segmentation import segmentation

TABLE: Mapping[str, Callable[..., Task]] = {
    "classification": classification,
    "segmentation": segmentation,
}


def names() -> tuple[str, ...]:
    """Returns the names of the tasks, sorted."""
    return tuple(sorted(TABLE))


def make(name: str, *, num_classes: int, **options: Any) -> Task:
    """Builds the task ``name``.

    Args:
        name: See `names`; or an import path ``package.module:attribute``.
        num_classes: K.
        **options: Keywords of the task.

    Raises:
        ConfigError: If the name or an option is unknown, or a value is refused.
    """
    return build_once("task", TABLE, name, options, num_classes=num_classes)


__all__ = ["TABLE", "Task", "classification", "make", "names", "segmentation"]
