"""Matches the test examples of two models."""

import numpy as np

from fdcmkd_jax.report.run import Examples, Model


class IncomparableError(ValueError):
    """The features of two models cannot be compared; the message says why."""


def matched(first: Model, second: Model) -> tuple[Examples, Examples]:
    """Selects the test examples that two models share, in the same order.

    Args:
        first: A model of the run.
        second: Another.

    Returns:
        Their test examples, restricted to the shared ids and sorted by id: features ``[n, D]``.

    Raises:
        IncomparableError: If a model has no stored features, the widths differ or no id is shared.
    """
    for model in (first, second):
        if model.test is None:
            raise IncomparableError(f"{model.label} has no features in test.npz.")
    assert first.test is not None
    assert second.test is not None
    first_width, second_width = first.test.features.shape[-1], second.test.features.shape[-1]
    if first_width != second_width:
        raise IncomparableError(
            f"their features differ in width ({first.label}: {first_width}, {second.label}: "
            f"{second_width}), so their channels cannot be compared one by one."
        )
    ids, first_rows, second_rows = np.intersect1d(
        first.test.id, second.test.id, return_indices=True
    )
    if not ids.size:
        raise IncomparableError("their test splits share no example.")
    return first.test.take(first_rows), second.test.take(second_rows)
