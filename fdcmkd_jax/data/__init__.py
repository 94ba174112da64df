"""Data sets by name. A new data set is one folder and one line here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fdcmkd_jax.data.av_digits import av_digits
from fdcmkd_jax.data.base import Dataset, Example, Preprocessing, Source
from fdcmkd_jax.tables import build

TABLE: Mapping[str, Callable[..., Dataset]] = {"av_digits": av_digits}


def names() -> tuple[str, ...]:
    """The known data sets, sorted."""
    return tuple(sorted(TABLE))


def make(name: str, *, data_dir: Path, seed: int, **options: Any) -> Dataset:
    """The data set listed under ``name``, prepared under ``data_dir`` on first use.

    Args:
        name: See `names`.
        data_dir: Folder of the prepared records.
        seed: Seed of the run, for data sets that draw their split.
        **options: The data set's own keywords.

    Raises:
        ConfigError: If the name or an option is unknown, a value is refused, or raw data are
            missing.
    """
    return build("data set", TABLE, name, options, data_dir=data_dir, seed=seed)


__all__ = ["TABLE", "Dataset", "Example", "Preprocessing", "Source", "make", "names"]
