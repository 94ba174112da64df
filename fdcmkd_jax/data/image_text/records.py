"""Pairs as a TFDS builder: encoded pictures and raw texts in array_record files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from fdcmkd_jax.data import records
from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.data.index import Index, Indexed
from fdcmkd_jax.registry import ConfigError

VERSION = "1.0.0"

Columns = Mapping[str, Sequence[Any]]
"""Values beside the records by name, one a record: plain data; ``id`` among them."""


class Pair(NamedTuple):
    """The contents of a record.

    Attributes:
        image: A JPEG or PNG file, as it was found.
        text: The text.
    """

    image: bytes
    text: str


class Variant(tfds.core.BuilderConfig):
    """One set of records.

    Attributes:
        columns: The columns of each split.
        read: Reads the pair at a place of a split.
    """

    def __init__(
        self, name: str, columns: Mapping[str, Columns], read: Callable[[str, int], Pair]
    ) -> None:
        super().__init__(name=name)
        self.columns, self.read = columns, read


class ImageTextPairs(records.OrderedBuilder):
    """Pairs of a picture and a text."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        columns = self.builder_config.columns
        return tfds.core.DatasetInfo(
            builder=self,
            description="Pictures as JPEG or PNG files, and texts.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Text(),
                    "text": tfds.features.Text(),
                    "id": tfds.features.Scalar(dtype=np.int32),
                }
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(
                columns={
                    split: {k: list(v) for k, v in part.items()} for split, part in columns.items()
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in self.builder_config.columns}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for place, number in enumerate(config.columns[split]["id"]):
            image, text = config.read(split, place)
            yield number, {"image": image, "text": text, "id": number}


def folder_of(data_dir: Path, name: str) -> Path:
    """Returns the folder of a set of records."""
    return data_dir / ImageTextPairs.name / name / VERSION


def write(
    data_dir: Path, name: str, columns: Mapping[str, Columns], read: Callable[[str, int], Pair]
) -> None:
    """Writes a set of records.

    Args:
        data_dir: Folder of the prepared records.
        name: Name of the set and of what it depends on.
        columns: The columns of each split.
        read: Reads the pair at a place of a split.
    """
    config = Variant(name, columns, read)
    records.write(
        lambda: ImageTextPairs(data_dir=data_dir, config=config, file_format="array_record"),
        folder_of(data_dir, name),
    )


def read(folder: Path) -> tuple[dict[str, Source], dict[str, Columns]]:
    """Opens records; reads none of them.

    Returns:
        The splits, whose records hold ``image`` and ``text`` (bytes) and ``id``; and their columns.

    Raises:
        ConfigError: If the records are damaged.
    """
    try:
        builder = tfds.builder_from_directory(folder)
        columns = builder.info.metadata["columns"]
        splits = {split: builder.as_data_source(split=split) for split in columns}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot read the records under {folder} ({error}); delete that folder to prepare them "
            "again."
        ) from error
    return splits, columns


def labelled(source: Source, ids: Sequence[int], labels: Int[np.ndarray, " N"]) -> Indexed:
    """Returns a split whose records hold their label.

    Args:
        source: The records.
        ids: Their ids.
        labels: Shape ``[N]``, int32.
    """
    return Indexed(_Labelled(source, labels), Index.of(labels, np.array(ids, np.int32)))


class _Labelled:
    """Records with labels from a column."""

    def __init__(self, source: Source, labels: Int[np.ndarray, " N"]) -> None:
        self._source, self._labels = source, labels

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        return {**self._source[index], "label": self._labels[index]}
