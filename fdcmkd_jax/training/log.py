"""Output of a run while it trains: metrics on disk, TensorBoard events, a progress bar."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from fdcmkd_jax.registry import ConfigError


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ConfigError: If it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # Not JSON, or not even text.
        raise ConfigError(
            f"cannot read {path}: {error}. Restore the file, or delete its folder to start anew."
        ) from error


class Log:
    """One model's ``metrics.jsonl``, its TensorBoard events and its progress bar.

    Args:
        directory: The model's folder.
        events: The folder of its events.
        title: Text beside the bar.
        start: The step resumed from. Later rows of an interrupted run are dropped, because they
            will be written again.
        total: Number of steps.
        active: False in processes that print and write nothing.
    """

    def __init__(
        self, directory: Path, events: Path, *, title: str, start: int, total: int, active: bool
    ) -> None:
        self._active = active
        if not active:
            return
        path = directory / "metrics.jsonl"
        directory.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_rows(path) if row["step"] <= start]
        lines = "".join(json.dumps(row) + "\n" for row in kept)
        path.write_text(lines, encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._events = _summary_writer()(str(events), purge_step=start + 1)
        # disable=None: no bar where the output is not a terminal.
        self._bar = tqdm(
            total=total, initial=start, desc=title, unit="step", disable=None, leave=False
        )

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._active:
            self._bar.close()
            self._events.close()
            self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one row and flushes it.

        Args:
            row: JSON-able, with ``split``, ``step`` and numbers, which may be nested by name.
        """
        if not self._active:
            return
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in _flatten(row):
            self._events.add_scalar(f"{row['split']}/{name}", value, row["step"])

    def advance(self, step: int, **shown: float) -> None:
        """Moves the bar to ``step`` and shows some numbers beside it."""
        if self._active:
            self._bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items()}, refresh=False)
            self._bar.update(step - self._bar.n)


def _summary_writer() -> Any:
    """Imports the writer of events, which only a training run needs, without PyTorch.

    Where PyTorch is installed, tensorboardX loads all of it for one check of a type: seconds, and
    hundreds of MB.
    """
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]  # Says that it is not installed.
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hide:
            del sys.modules["torch"]
    return SummaryWriter


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the complete rows of a ``metrics.jsonl``; a last row cut short by a kill is left out.

    Raises:
        ConfigError: If another row is not JSON.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line) if line else None)
        except ValueError as error:
            raise ConfigError(
                f"cannot read {path}: line {number} is not JSON. Delete that line, or the folder "
                "to start anew."
            ) from error
    return [row for row in rows if row is not None]


def _flatten(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}/")
        elif name not in ("split", "step"):
            yield f"{prefix}{name}", value
