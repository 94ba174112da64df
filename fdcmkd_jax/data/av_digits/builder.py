"""AV-digits as a TFDS builder: pairs of a spoken and a written digit in array_record files."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from fdcmkd_jax.data.av_digits import protocol, raw


class AvDigitsConfig(tfds.core.BuilderConfig):
    """One draw of the splits.

    Attributes:
        seed: Seed of the draw.
        pairs_per_class: Training pairs of each digit.
    """

    def __init__(self, *, seed: int, pairs_per_class: int) -> None:
        super().__init__(name=f"seed{seed}_pairs{pairs_per_class}")
        self.seed = seed
        self.pairs_per_class = pairs_per_class


class AvDigits(tfds.core.GeneratorBasedBuilder):
    """Spoken digits (MFCC frames) paired with written digits (pixels) of the same class."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        digits = raw.load()
        splits = protocol.draw_splits(
            digits.audio_labels,
            digits.image_labels,
            seed=config.seed,
            pairs_per_class=config.pairs_per_class,
        )
        train = splits["train"]
        scale = protocol.measure_scale(
            [digits.clips[pair.audio] for pair in train],
            digits.images[[pair.image for pair in train]],
        )
        self._digits, self._splits = digits, splits
        return tfds.core.DatasetInfo(
            builder=self,
            description="Spoken digits (MFCC) paired with written digits of the same class.",
            features=tfds.features.FeaturesDict(
                {
                    "audio": tfds.features.Tensor(
                        shape=(None, protocol.NUM_COEFFICIENTS), dtype=np.float32
                    ),
                    "image": tfds.features.Tensor(
                        shape=(protocol.IMAGE_SIZE, protocol.IMAGE_SIZE, 1), dtype=np.uint8
                    ),
                    "label": tfds.features.ClassLabel(
                        names=[str(digit) for digit in range(protocol.NUM_CLASSES)]
                    ),
                    "id": tfds.features.Scalar(dtype=np.int32),
                }
            ),
            metadata=tfds.core.MetadataDict(
                scale={name: np.asarray(value).tolist() for name, value in scale._asdict().items()},
                fingerprint=raw.fingerprint(),
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        return {name: self._generate_examples(pairs) for name, pairs in self._splits.items()}

    def _generate_examples(
        self, pairs: list[protocol.Pair]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for pair in pairs:
            yield (
                pair.id,
                {
                    "audio": self._digits.clips[pair.audio].astype(np.float32),
                    "image": self._digits.images[pair.image][..., None],
                    "label": pair.label,
                    "id": pair.id,
                },
            )
