"""AV-digits: spoken digits (MFCC) paired with written digits, from files that install with pip."""

from pathlib import Path
from typing import Any

import numpy as np

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

    from fdcmkd_jax.data import records
    from fdcmkd_jax.data.av_digits.builder import AvDigits, AvDigitsConfig

    protocol.check_draw(seed=seed, pairs_per_class=pairs_per_class)
    fingerprint = raw.fingerprint()
    config = AvDigitsConfig(seed=seed, pairs_per_class=pairs_per_class)
    prepared = data_dir / AvDigits.name / config.name / str(AvDigits.VERSION)
    if not prepared.is_dir():
        records.write(
            lambda: AvDigits(data_dir=data_dir, config=config, file_format="array_record"),
            prepared,
        )
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
