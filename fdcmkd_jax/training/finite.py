"""Means over the steps of a row of the log, and the errors that name what is not finite."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fdcmkd_jax.tasks import metrics
from fdcmkd_jax.training.state import TrainState
from fdcmkd_jax.training.step import Sums


class NonFiniteError(ArithmeticError):
    """A loss term, gradient or parameter became NaN or infinite."""


def means(window: Sequence[Sums], step: int, saved: int | None, title: str) -> dict[str, Any]:
    """Computes the means over a window of steps.

    Args:
        window: The sums of each step, as host arrays.
        step: The last step of the window.
        saved: The step of the last good checkpoint, for the message.
        title: The model's name, for the message.

    Returns:
        The means by name, nested as the sums are.

    Raises:
        NonFiniteError: Naming the first step and term that are not finite.
    """
    for at, sums in enumerate(window, step - len(window) + 1):
        for group, words in (("terms", "the term"), ("gradient_norms", "the gradient of the term")):
            for name, (value, _) in sums[group].items():
                if not math.isfinite(value):
                    raise _diverged(f"{words} {name!r}", float(value), at, saved, title)
    totals: Any = None
    for sums in window:
        totals = metrics.add(totals, sums)
    return jax.tree.map(metrics.mean, totals, is_leaf=lambda x: isinstance(x, tuple))


def check_finite(host: TrainState, step: int, saved: int | None, title: str) -> None:
    """Checks that a spoiled state does not replace a good checkpoint.

    A step's losses are those before its update, so they can be finite when the update is not.

    Args:
        host: The state, as host arrays.
        step: Its step.
        saved: The step of the last good checkpoint, for the message.
        title: The model's name, for the message.

    Raises:
        NonFiniteError: If a number of the state is not finite.
    """
    kept = (host.params, host.batch_stats, host.teacher_stats, host.memory)
    for path, leaf in jax.tree_util.tree_leaves_with_path(kept):
        if not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
            value = float(leaf[~np.isfinite(leaf)][0])
            raise _diverged(f"the parameter {name}", value, step, saved, title)


def _diverged(name: str, value: float, step: int, saved: int | None, title: str) -> NonFiniteError:
    kept = f"of step {saved}" if saved else "none yet"
    return NonFiniteError(
        f"{title}: {name} became {value} at step {step}; last good checkpoint: {kept}. "
        "Try a lower optim.learning_rate."
    )
