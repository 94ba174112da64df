"""Teacher outputs that were computed elsewhere and stored in a file, in place of a teacher."""

import dataclasses
import io
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Float, Int

from fdcmkd_jax.data.base import Source
from fdcmkd_jax.data.index import read_index
from fdcmkd_jax.registry import ConfigError

SUFFIXES = (".npz", ".safetensors", ".array_record")
"""The suffixes of files that `load` reads."""


@dataclasses.dataclass(frozen=True)
class StoredOutputs:
    """Outputs of a teacher by example id.

    Attributes:
        path: The file they come from, for messages.
        ids: Shape ``[M]``, int64, without repetition.
        features: Shape ``[M, D]`` (or ``[M, T, D]``, ``[M, H, W, C]``), float32.
        logits: Shape ``[M, K]``, float32; None if none are stored.
    """

    path: Path
    ids: Int[np.ndarray, " M"]
    features: Float[np.ndarray, "M *rest D"]
    logits: Float[np.ndarray, "M K"] | None

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"features": self.features, "logits": self.logits}
        return {name: rows for name, rows in arrays.items() if rows is not None}

    def rows(self, ids: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        """Returns the rows that hold the given ids.

        Raises:
            ConfigError: If an id is missing.
        """
        order = np.argsort(self.ids)
        places = np.searchsorted(self.ids, ids, sorter=order).clip(max=len(order) - 1)
        rows = order[places]
        missing = np.unique(ids[self.ids[rows] != ids])
        if len(missing):
            raise ConfigError(
                f"{self.path} lacks {len(missing)} of {len(np.unique(ids))} training examples; "
                f"the first missing ids: {missing[:5].tolist()}."
            )
        return rows

    def record(self, row: int) -> dict[str, np.ndarray]:
        """Returns the outputs of one row, as `types.from_record` takes them after stacking."""
        return {name: rows[row] for name, rows in self._arrays.items()}


def load(path: str | Path, *, num_classes: int) -> StoredOutputs:
    """Reads the outputs of a teacher from a file.

    Args:
        path: An ``.npz`` or ``.safetensors`` file with the arrays ``id [M]``,
            ``features [M, ..., D]`` and, optionally, ``logits [M, K]``; or an ``.array_record``
            file of which each record is an ``.npz`` of one example's ``id``, ``features`` and
            ``logits``.
        num_classes: K, which stored logits must have.

    Returns:
        The outputs, as float32.

    Raises:
        ConfigError: If the file cannot be read, lacks an array, repeats an id, or holds arrays of
            another shape or numbers that are not finite.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} must end in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ConfigError(f"no stored teacher features at {path}.")
    try:
        arrays = _READERS[path.suffix](path)
    except ConfigError:
        raise
    except Exception as error:  # Each library raises errors of its own for a broken file.
        raise ConfigError(f"cannot read {path}: {error}") from error
    for name in ("id", "features"):
        if name not in arrays:
            raise ConfigError(f"{path} lacks the array {name!r}; it holds {sorted(arrays)}.")
    stored = StoredOutputs(
        path,
        np.asarray(arrays["id"]),
        np.asarray(arrays["features"], np.float32),
        np.asarray(arrays["logits"], np.float32) if "logits" in arrays else None,
    )
    _check(stored, num_classes)
    return stored


class StoredRows:
    """Stored outputs by row of a split: where pairs are broken, those of the partner.

    Args:
        source: The split as the student sees it.
        stored: The outputs.

    Raises:
        ConfigError: If an example of the split has no stored outputs.
    """

    def __init__(self, source: Source, stored: StoredOutputs) -> None:
        self._stored, self._rows = stored, stored.rows(read_index(source).teacher_ids)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return self._stored.record(int(self._rows[row]))


def _check(stored: StoredOutputs, num_classes: int) -> None:
    ids, features, logits = stored.ids, stored.features, stored.logits
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or not len(ids):
        raise ConfigError(
            f"{stored.path}: id must be whole numbers of shape [M], "
            f"got {ids.dtype} of shape {list(ids.shape)}."
        )
    if len(np.unique(ids)) < len(ids):
        raise ConfigError(f"{stored.path}: id repeats {len(ids) - len(np.unique(ids))} values.")
    if not 2 <= features.ndim <= 4 or len(features) != len(ids):
        raise ConfigError(
            f"{stored.path}: features must have shape [M, D], [M, T, D] or [M, H, W, C] with "
            f"M = {len(ids)}, got {list(features.shape)}."
        )
    if logits is not None and logits.shape != (len(ids), num_classes):
        raise ConfigError(
            f"{stored.path}: logits must have shape {[len(ids), num_classes]} (examples, classes), "
            f"got {list(logits.shape)}."
        )
    for name, array in (("features", features), ("logits", logits)):
        if array is not None and not np.isfinite(array).all():
            raise ConfigError(f"{stored.path}: {name} must be finite.")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file  # Optional, with the packages for PyTorch.
    except ImportError as error:
        raise ConfigError(
            f"reading {path} needs the package safetensors: pip install 'fdcmkd-jax[torch]'."
        ) from error
    return load_file(path)


def _read_array_record(path: Path) -> dict[str, np.ndarray]:
    reader = ArrayRecordReader(str(path))
    try:
        records = reader.read_all()
    finally:
        reader.close()
    rows = []
    for record in records:
        with np.load(io.BytesIO(record), allow_pickle=False) as arrays:
            rows.append(dict(arrays))
    return {name: np.stack([row[name] for row in rows]) for name in (rows[0] if rows else {})}


_READERS = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".array_record": _read_array_record,
}
