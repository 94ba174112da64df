"""AV-digits: spoken digits (MFCC) paired with written digits, from files that install with pip."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fdcmkd_jax.data.av_digits import protocol, raw
from fdcmkd_jax.data.av_digits.preprocessing import constants, preprocessing
from fdcmkd_jax.data.base import Dataset, Example, Source
from fdcmkd_jax.registry import ConfigError

MODALITIES = ("audio", "image")


class _Split:
    """A split of the records, standardized by the training split."""

    def __init__(self, records: Source, scale: protocol.Scale) -> None:
        self._records, self._scale = records, scale

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        return {
            "audio": protocol.scale_audio(record["audio"], self._scale),
            "image": protocol.scale_image(record["image"], self._scale),
            "label": np.int32(record["label"]),
            "id": np.int32(record["id"]),
        }


def _prepare(data_dir: Path, config: Any, prepared: Path) -> None:
    """Writes the records; TFDS moves them into place only when they are complete."""
    import tensorflow_datasets as tfds

    from fdcmkd_jax.data.av_digits.builder import AvDigits

    verbosity = logging.get_verbosity()
    logging.set_verbosity(
        logging.ERROR
    )  # TFDS warns about configurations that are not listed in advance.
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder = AvDigits(data_dir=data_dir, config=config, file_format="array_record")
            builder.download_and_prepare()
    except OSError:
        # Another process may have moved the same records into place in the meantime.
        if not prepared.is_dir():
            raise
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()


def av_digits(*, data_dir: Path, seed: int, pairs_per_class: int = 20) -> Dataset:
    """Loads AV-digits-20: 200 training, 500 validation and 1,000 test pairs of 10 digits.

    Audio is ``[32, 13, 1]`` (MFCC frames), image ``[28, 28, 1]``, both float32 and standardized by
    the training split. Records are prepared on first use and reused after that.

    Args:
        data_dir: Folder of the prepared records.
        seed: Seed of the split.
        pairs_per_class: Training pairs of each digit, 1 to 150.

    Raises:
        ValueError: If ``pairs_per_class`` is out of range.
        ConfigError: If the raw data are not installed, or the records under ``data_dir`` were made
            from other raw data, or cannot be read.
    """
    # Takes a moment, and only a run that reads the digits needs it.
    import tensorflow_datasets as tfds

    from fdcmkd_jax.data.av_digits.builder import AvDigits, AvDigitsConfig

    protocol.check_draw(seed=seed, pairs_per_class=pairs_per_class)
    fingerprint = raw.fingerprint()
    config = AvDigitsConfig(seed=seed, pairs_per_class=pairs_per_class)
    prepared = data_dir / AvDigits.name / config.name / str(AvDigits.VERSION)
    if not prepared.is_dir():
        _prepare(data_dir, config, prepared)
    builder = tfds.builder_from_directory(prepared)
    recorded = builder.info.metadata["fingerprint"]
    if recorded != fingerprint:
        raise ConfigError(
            f"the records under {data_dir} were made from other raw data ({recorded}, now "
            f"{fingerprint}); delete that folder or choose another data_dir."
        )
    numbers: dict[str, Any] = {
        name: np.asarray(value) for name, value in builder.info.metadata["scale"].items()
    }
    scale = protocol.Scale(**numbers)
    return Dataset(
        modalities=MODALITIES,
        class_names=tuple(builder.info.features["label"].names),
        splits={
            name: _Split(builder.as_data_source(split=name), scale)
            for name in ("train", "val", "test")
        },
        preprocessing={
            modality: preprocessing(modality, constants(scale, modality)) for modality in MODALITIES
        },
    )
