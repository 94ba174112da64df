"""The results of a run as a short text table for the terminal."""

from collections.abc import Mapping
from typing import Any

HEADER = ("model", "val %", "test %", "last %", "step")


def table(results: Mapping[str, Any]) -> str:
    """Formats the results as a text table, accuracies in percent.

    Args:
        results: The contents of ``results.json``.

    Returns:
        A line a model, each followed by a line for each of its method's heads.
    """
    rows: list[tuple[str, ...]] = [HEADER]
    for kind, entries in (("teacher", results["teachers"]), ("student", results["students"])):
        for name, entry in entries.items():
            accuracies = (entry["val"], entry["test"], entry["last"]["test"])
            cells = (_percent(metrics) for metrics in accuracies)
            rows.append((f"{kind} {name}", *cells, str(entry["selected_step"])))
            for head, metrics in entry["heads"].items():
                rows.append(
                    (f"  {head}", _percent(metrics["val"]), _percent(metrics["test"]), "", "")
                )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _percent(metrics: Mapping[str, float]) -> str:
    return f"{100 * metrics['accuracy']:.1f}"
