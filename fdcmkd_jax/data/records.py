"""Records in array_record files, written by a TFDS builder."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging


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
