"""The results of a run as a short text table for the terminal."""

from collections.abc import Mapping
from typing import Any


def table(results: Mapping[str, Any]) -> str:
    """Formats the results as a text table: the primary metric in percent.

    Args:
        results: The contents of ``results.json``.

    Returns:
        A line a model, each followed by a line for each of its method's heads.
    """
    primary = results["metrics"]["primary"]
    label = results["metrics"]["labels"][primary]
    header = (f"{label} in %", "validation", "test", "last step", "step")
    rows: list[tuple[str, ...]] = [header]

    def percent(metrics: Mapping[str, float]) -> str:
        return f"{100 * metrics[primary]:.1f}"

    for kind, entries in (("teacher", results["teachers"]), ("student", results["students"])):
        for name, entry in entries.items():
            cells = map(percent, (entry["val"], entry["test"], entry["last"]["test"]))
            rows.append((f"{kind} {name}", *cells, str(entry["selected_step"])))
            for head, metrics in entry["heads"].items():
                rows.append(
                    (f"  {head}", percent(metrics["val"]), percent(metrics["test"]), "", "")
                )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
