"""AV-digits-20: the pairs of clips and images, their splits and their scale.

Written in NumPy alone, without knowledge of how records are stored.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer

NUM_CLASSES = 10
NUM_TEST, NUM_VAL = 100, 50
MAX_PAIRS_PER_CLASS = 150
NUM_FRAMES, NUM_COEFFICIENTS = 32, 13
IMAGE_SIZE = 28


class Pair(NamedTuple):
    """One clip with one image of the same digit.

    Attributes:
        id: ``1000 * label + position in the permutation of its class``; unique over all splits.
        label: The digit.
        audio: Index of the clip.
        image: Index of the image.
    """

    id: int
    label: int
    audio: int
    image: int


def draw_splits(
    audio_labels: Int[np.ndarray, " A"],
    image_labels: Int[np.ndarray, " I"],
    *,
    seed: int,
    pairs_per_class: int,
) -> dict[str, list[Pair]]:
    """Draws the splits: per class 100 test, then 50 validation, then the training pairs.

    Args:
        audio_labels: The digit of each clip, shape ``[A]``.
        image_labels: The digit of each image, shape ``[I]``.
        seed: Seed of the draw, in ``[0, 2**32)``.
        pairs_per_class: Training pairs of each digit, 1 to 150.

    Returns:
        Pairs by split, class by class; every clip and image is in one split at most.

    Raises:
        ValueError: If ``pairs_per_class`` or the seed is out of range.
    """
    check_draw(seed=seed, pairs_per_class=pairs_per_class)
    bounds = {
        "test": (0, NUM_TEST),
        "val": (NUM_TEST, NUM_TEST + NUM_VAL),
        "train": (NUM_TEST + NUM_VAL, NUM_TEST + NUM_VAL + pairs_per_class),
    }
    splits: dict[str, list[Pair]] = {name: [] for name in bounds}
    random = np.random.RandomState(seed)
    for label in range(NUM_CLASSES):
        audio = random.permutation(np.flatnonzero(audio_labels == label))
        image = random.permutation(np.flatnonzero(image_labels == label))
        for name, (start, stop) in bounds.items():
            splits[name] += [
                Pair(1000 * label + k, label, int(audio[k]), int(image[k]))
                for k in range(start, stop)
            ]
    return splits


def check_draw(*, seed: int, pairs_per_class: int) -> None:
    """Raises ValueError unless `draw_splits` accepts these numbers."""
    if not 1 <= pairs_per_class <= MAX_PAIRS_PER_CLASS:
        raise ValueError(
            f"pairs_per_class must lie in [1, {MAX_PAIRS_PER_CLASS}], got {pairs_per_class}."
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in [0, 2**32), got {seed}.")


class Scale(NamedTuple):
    """Means and standard deviations of the training split.

    Attributes:
        frame_mean: Mean of each coefficient over all training frames, shape ``[13]``.
        frame_std: Standard deviation of each coefficient, shape ``[13]``.
        audio_mean: Mean of the padded, standardized training tensor.
        audio_std: Its standard deviation.
        image_mean: Mean of the training pixels, in [0, 1].
        image_std: Their standard deviation.
    """

    frame_mean: Any
    frame_std: Any
    audio_mean: float
    audio_std: float
    image_mean: float
    image_std: float


def measure_scale(
    clips: list[Float[np.ndarray, "_ 13"]], images: Integer[np.ndarray, "N 28 28"]
) -> Scale:
    """Measures the scale of a training split.

    Args:
        clips: The clips, each ``[T, 13]``.
        images: The images, shape ``[N, 28, 28]``, 0 to 255.
    """
    frames = np.concatenate(clips).astype(np.float64)
    mean, std = frames.mean(axis=0), frames.std(axis=0)
    padded = np.stack([pad_frames((clip - mean) / std) for clip in clips])
    pixels = images / 255.0
    return Scale(mean, std, padded.mean(), padded.std(), float(pixels.mean()), float(pixels.std()))


def pad_frames(frames: Float[np.ndarray, "T 13"]) -> Float[np.ndarray, "32 13"]:
    """Returns the first 32 frames, with zeros after a shorter clip's end."""
    kept = frames[:NUM_FRAMES]
    return np.pad(kept, ((0, NUM_FRAMES - len(kept)), (0, 0)))


def scale_audio(clip: Float[np.ndarray, "T 13"], scale: Scale) -> Float[np.ndarray, "32 13 1"]:
    """Makes a model's input of a clip: standardized, cut or padded to 32 frames, float32."""
    return scale_clips(pad_frames(clip)[None], np.array([len(clip)]), scale)[0]


def scale_clips(frames: Any, num_frames: Any, scale: Scale) -> Any:
    """Makes a model's input of clips, as NumPy or JAX arrays.

    Args:
        frames: Shape ``[N, 32, 13]``, float; values after a clip's end do not matter.
        num_frames: Shape ``[N]``, int; frames of each clip, 32 where it is longer.
        scale: Of the training split.

    Returns:
        Shape ``[N, 32, 13, 1]``, float32.
    """
    library = frames.__array_namespace__()
    inside = library.arange(NUM_FRAMES)[None, :, None] < num_frames[:, None, None]
    standard = (frames - scale.frame_mean[None, None]) / scale.frame_std[None, None]
    padded = library.where(inside, standard, 0.0)
    return ((padded - scale.audio_mean) / scale.audio_std).astype(library.float32)[..., None]


def scale_image(image: Any, scale: Scale) -> Any:
    """Makes a model's input of images, as NumPy or JAX arrays.

    Args:
        image: Shape ``[..., 28, 28, 1]``, uint8.
        scale: Of the training split.

    Returns:
        The same shape, float32.
    """
    return ((image / 255.0 - scale.image_mean) / scale.image_std).astype("float32")
