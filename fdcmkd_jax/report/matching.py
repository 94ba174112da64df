"""Which test examples two models can be compared on."""

import numpy as np

from fdcmkd_jax.report.run import Examples, Model


class IncomparableError(ValueError):
    """Two models' features cannot be compared; the message, for the page, says why."""


def matched(first: Model, second: Model) -> tuple[Examples, Examples]:
    """The examples both models saw, in one order.

    Args:
        first: A model of the run.
        second: Another.

    Returns:
        Their test splits, each cut to the ids they share and sorted by id: features ``[n, D]``.

    Raises:
        IncomparableError: If a model left no features, the widths differ or no id is shared.
    """
    for model in (first, second):
        if model.test is None:
            raise IncomparableError(f"{model.label} left no test.npz.")
    assert first.test is not None
    assert second.test is not None
    width, other_width = first.test.features.shape[-1], second.test.features.shape[-1]
    if width != other_width:
        raise IncomparableError(
            f"their features differ in width ({first.label}: {width}, {second.label}: "
            f"{other_width}), so no channel of one has a partner in the other."
        )
    ids, rows, other_rows = np.intersect1d(first.test.id, second.test.id, return_indices=True)
    if not ids.size:
        raise IncomparableError("their test splits share no example.")
    return first.test.take(rows), second.test.take(other_rows)
