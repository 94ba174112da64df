"""The host's stage for clips: a waveform of fixed length, pictures of fixed size."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from fdcmkd_jax.data.base import Example
from fdcmkd_jax.data.clips import frames

MODALITIES = ("audio", "visual")


@dataclass(frozen=True)
class ClipTransform:
    """Makes an example of a clip's record.

    A record holds ``waveform [S']`` (int16 or float32), ``frames`` (JPEG files), ``label`` and
    ``id``. The example holds ``audio = {"waveform": [S]}`` and ``visual = {"frames": uint8
    [H, W, 3]}``, or ``[F, H, W, 3]`` if it has several frames.

    Attributes:
        num_samples: S. Shorter sound is repeated, longer sound is cut.
        image_size: H and W, in pixels.
        num_frames: F, the number of pictures of an example.
        image_augment: Random resized crops and flips in training, the same for all F.
        time_crop: Cut longer sound at a random place in training and in the middle in evaluation;
            otherwise after its first S samples.
        mask_shape: F and T of the spectrogram that SpecAugment masks.
        num_masks: Masks along time, and as many along frequency, in training; 0 for none.
        time_mask: Longest mask along time, in frames.
        frequency_mask: Longest mask along frequency, in bins.
    """

    num_samples: int
    image_size: int = 224
    num_frames: int = 1
    image_augment: bool = True
    time_crop: bool = False
    mask_shape: tuple[int, int] = (0, 0)
    num_masks: int = 0
    time_mask: int = 0
    frequency_mask: int = 0

    @property
    def augmented(self) -> tuple[str, ...]:
        """The modalities that differ from epoch to epoch; of pictures, the frame always does."""
        return MODALITIES if self.time_crop or self.num_masks else ("visual",)

    def __call__(
        self, record: Example, random: np.random.Generator | None, modalities: Collection[str]
    ) -> Example:
        """Makes the example; see `data.base.Transform`."""
        sound, sight = (None, None) if random is None else random.spawn(2)
        example: Example = {key: np.int32(record[key]) for key in ("label", "id")}
        if "audio" in modalities:
            example["audio"] = self._audio(np.asarray(record["waveform"]), sound)
        if "visual" in modalities:
            example["visual"] = self._visual(record["frames"], sight)
        return example

    def _audio(
        self, waveform: Shaped[np.ndarray, " S"], random: np.random.Generator | None
    ) -> Example:
        spare = max(len(waveform) - self.num_samples, 0) if self.time_crop else 0
        start = spare // 2 if random is None else int(random.integers(0, spare + 1))
        audio = {"waveform": np.resize(waveform[start:], self.num_samples)}
        if self.num_masks:
            for name, size, longest in zip(
                ("frequency_masks", "time_masks"),
                self.mask_shape,
                (self.frequency_mask, self.time_mask),
                strict=True,
            ):
                audio[name] = self._masks(size, longest, random)
        return audio

    def _masks(
        self, size: int, longest: int, random: np.random.Generator | None
    ) -> Shaped[np.ndarray, "M 2"]:
        """Draws masks as first position and length; in evaluation their length is 0."""
        if random is None:
            return np.zeros((self.num_masks, 2), np.int32)
        lengths = random.integers(0, min(longest, size) + 1, size=self.num_masks)
        starts = random.integers(0, size - lengths + 1)
        return np.stack([starts, lengths], axis=-1).astype(np.int32)

    def _visual(self, pictures: list[bytes], random: np.random.Generator | None) -> Example:
        chosen = [
            pictures[place]
            for place in frames.choose_frames(len(pictures), self.num_frames, random)
        ]
        box, flip = None, False
        if random is not None and self.image_augment:
            crop = frames.random_crop(*frames.size_of(chosen[0]), random)
            box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
            flip = bool(random.integers(2))
        decoded = frames.decode(chosen, self.image_size, box, flip)
        return {"frames": decoded if self.num_frames > 1 else decoded[0]}
