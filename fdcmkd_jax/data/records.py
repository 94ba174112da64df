"""Records in array_record files, written by a TFDS builder."""

import contextlib
import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core import dataset_info

SHARD_SIZE = 2048
"""Largest number of examples in a file."""

CHUNK_SIZE = 256
"""Number of examples that are held in memory while a split is written."""


class OrderedBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder that writes examples in the order in which they are generated.

    TFDS's own writer holds a split in memory, and beyond 1 GB needs TensorFlow.
    """

    def _generate_splits(
        self, dl_manager: tfds.download.DownloadManager, download_config: Any
    ) -> Sequence[tfds.core.SplitInfo]:
        del download_config
        # The folder is a temporary one now, which the builder's own metadata do not know.
        here = tfds.core.DatasetInfo(
            builder=dataset_info.DatasetIdentity.from_builder(self), features=self.info.features
        )
        writer = tfds.core.SequentialWriter(
            here, max_examples_per_shard=SHARD_SIZE, file_format="array_record"
        )
        generators = self._split_generators(dl_manager)
        writer.initialize_splits(list(generators))
        for split, examples in generators.items():
            iterator = iter(examples)
            while chunk := list(itertools.islice(iterator, CHUNK_SIZE)):
                writer.add_examples({split: [example for _, example in chunk]})
        writer.close_all()
        return list(here.splits.values())


def write(make_builder: Callable[[], tfds.core.DatasetBuilder], folder: Path) -> None:
    """Writes the records of a builder; TFDS moves them into place only when they are complete.

    Args:
        make_builder: Makes the builder.
        folder: Folder of the complete records, for the case that another process prepares the same
            records at the same time.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS warns about variants not listed in advance.
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            make_builder().download_and_prepare()
    except OSError:
        # Another process may have moved the same records into place in the meantime.
        if not folder.is_dir():
            raise
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()
