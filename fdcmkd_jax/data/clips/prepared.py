"""Prepared records of clips, with the labels, ids, names and groups beside them."""

from pathlib import Path
from typing import Any

import numpy as np

from fdcmkd_jax.data.base import Source
from fdcmkd_jax.data.index import Index, Indexed
from fdcmkd_jax.registry import ConfigError


class PreparedSplit(Indexed):
    """A split of prepared records.

    Attributes:
        names: The clips' names.
        groups: The speakers or source videos.
    """

    def __init__(self, records: Source, columns: dict[str, Any]) -> None:
        labels, ids = (np.array(columns[name], np.int32) for name in ("labels", "ids"))
        super().__init__(records, Index.of(labels, ids))
        self.names, self.groups = list(columns["names"]), list(columns["groups"])


def read_prepared(folder: Path) -> tuple[tuple[str, ...], dict[str, PreparedSplit]]:
    """Opens prepared records; reads only the last one of each split, to see whether it is there.

    Args:
        folder: As `prepare` returned it.

    Returns:
        The names of the classes, and the splits.

    Raises:
        ConfigError: If the records are damaged.
    """
    # Take a moment, and only a run that reads clips needs them.
    import tensorflow_datasets as tfds
    from google.protobuf.json_format import ParseError

    try:
        builder = tfds.builder_from_directory(folder)
        columns = builder.info.metadata["columns"]
        splits = {
            split: PreparedSplit(builder.as_data_source(split=split), columns[split])
            for split in columns
        }
        for prepared in splits.values():
            prepared[len(prepared) - 1]
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ParseError) as error:
        raise ConfigError(
            f"cannot read the records under {folder} ({error}); delete that folder to prepare them "
            "again."
        ) from error
    return tuple(builder.info.features["label"].names), splits
