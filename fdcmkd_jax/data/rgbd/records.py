"""Frames as a TFDS builder: PNG files of picture, depth and labels in array_record files."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fdcmkd_jax.data import records
from fdcmkd_jax.data.index import Index, Indexed
from fdcmkd_jax.data.rgbd.frame import Frame
from fdcmkd_jax.registry import ConfigError

VERSION = "1.0.0"

Columns = Mapping[str, Sequence[Any]]
"""By name, a value for each frame of a split: ``id``, ``name`` and ``group``."""


class Variant(tfds.core.BuilderConfig):
    """One set of records.

    Attributes:
        columns: The columns of each split.
        read: Reads the frame at a place of a split.
    """

    def __init__(
        self, name: str, columns: Mapping[str, Columns], read: Callable[[str, int], Frame]
    ) -> None:
        super().__init__(name=name)
        self.columns, self.read = columns, read


class RgbdFrames(records.OrderedBuilder):
    """Pictures with depth and labels."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        columns = self.builder_config.columns
        files = dict.fromkeys(("image", "depth", "labels", "hha"), tfds.features.Text())
        return tfds.core.DatasetInfo(
            builder=self,
            description="PNG files of pictures, depth and labels.",
            features=tfds.features.FeaturesDict(
                {**files, "id": tfds.features.Scalar(dtype=np.int32)}
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
            frame = config.read(split, place)
            files = {name: to_png(getattr(frame, name)) for name in ("image", "depth", "labels")}
            yield number, {**files, "hha": frame.hha, "id": number}


def to_png(pixels: np.ndarray) -> bytes:
    """Encodes ``[H, W, 3]`` or ``[H, W]``, uint8 or uint16, without loss."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def folder_of(data_dir: Path, name: str) -> Path:
    """Returns the folder of a set of records."""
    return data_dir / RgbdFrames.name / name / VERSION


def write(
    data_dir: Path, name: str, columns: Mapping[str, Columns], read: Callable[[str, int], Frame]
) -> None:
    """Writes a set of records.

    Args:
        data_dir: Folder of the prepared records.
        name: Name of the set and of what it depends on.
        columns: The columns of each split.
        read: Reads the frame at a place of a split; called once for each, in their order.
    """
    config = Variant(name, columns, read)
    records.write(
        lambda: RgbdFrames(data_dir=data_dir, config=config, file_format="array_record"),
        folder_of(data_dir, name),
    )


def read(folder: Path) -> tuple[dict[str, Indexed], dict[str, Columns]]:
    """Opens records; reads the first one of each split, to see whether it is there.

    Returns:
        The splits, and their columns.

    Raises:
        ConfigError: If the records are damaged.
    """
    from google.protobuf.json_format import ParseError

    try:
        builder = tfds.builder_from_directory(folder)
        columns = builder.info.metadata["columns"]
        splits = {}
        for split, part in columns.items():
            source = builder.as_data_source(split=split)
            source[0]
            index = Index.of_pixels(np.array(part["id"], np.int32))
            splits[split] = Indexed(source, index)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ParseError) as error:
        raise ConfigError(
            f"cannot read the records under {folder} ({error}); delete that folder to prepare them "
            "again."
        ) from error
    return splits, columns
