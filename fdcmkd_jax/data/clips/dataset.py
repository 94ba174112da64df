"""A set of clips as a data set: its records, splits, transform and preprocessing."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from fdcmkd_jax.data.base import Dataset, Source
from fdcmkd_jax.data.clips.clip_set import ClipSet
from fdcmkd_jax.data.clips.decoding import waveform_dtype
from fdcmkd_jax.data.clips.generate import generate
from fdcmkd_jax.data.clips.prepared import PreparedSplit, read_prepared
from fdcmkd_jax.data.clips.preprocessing import of_audio, of_visual
from fdcmkd_jax.data.clips.spectrogram import Spectrogram
from fdcmkd_jax.data.clips.transform import MODALITIES, ClipTransform
from fdcmkd_jax.data.index import Indexed
from fdcmkd_jax.registry import unknown


def load(
    clip_set: ClipSet,
    spectrogram: Spectrogram,
    *,
    data_dir: Path,
    manual_dir: str,
    generated: int,
    strict: bool,
    variant: str = "",
    validation: float = 0.0,
    whole_groups: bool = False,
    **transform: Any,
) -> Dataset:
    """Loads a set of clips, prepared on first use.

    Args:
        clip_set: The set.
        spectrogram: The input of audio models.
        data_dir: Folder of the prepared records.
        manual_dir: The user's folder; may be empty where the records are prepared.
        generated: Training clips of each class to generate instead of reading ``manual_dir``; 0 for
            none.
        strict: Refuse a set with a defect.
        variant: Name of the lists' options.
        validation: Share of the training clips kept for validation, where the set has no such list.
        whole_groups: Keep the clips of a speaker or source video together.
        **transform: Keywords of `ClipTransform`.

    Returns:
        Modalities ``audio`` (``[N, F, T, 1]`` after preprocessing) and ``visual``
        (``[N, H, W, 3]``, or ``[N, F, H, W, 3]`` for F frames), float32.

    Raises:
        ConfigError: If the records are neither prepared nor can be.
        ValueError: If a value is out of range.
    """
    from fdcmkd_jax.data.clips import builder  # Imports TFDS, which takes a moment.

    stage = ClipTransform(
        num_samples=spectrogram.num_samples, mask_shape=spectrogram.shape[:2], **transform
    )
    if generated:
        manual_dir = str(generate(clip_set, data_dir / "generated", generated))
        variant = f"{variant}generated{generated}"
    folder = builder.prepare(
        clip_set,
        manual_dir=Path(manual_dir) if manual_dir else None,
        data_dir=data_dir,
        sample_rate=spectrogram.sample_rate,
        variant=variant,
        strict=strict,
    )
    class_names, prepared = read_prepared(folder)
    splits: dict[str, Source] = dict(prepared)
    if "val" not in splits:
        splits |= carve_validation(prepared["train"], validation, whole_groups=whole_groups)
    audio = of_audio(spectrogram, waveform_dtype(spectrogram.sample_rate))
    visual = of_visual(stage.image_size, stage.num_frames)
    return Dataset(
        modalities=MODALITIES,
        class_names=class_names,
        splits={name: splits[name] for name in ("train", "val", "test")},
        preprocessing=dict(zip(MODALITIES, (audio, visual), strict=True)),
        transform=stage,
        augmented=stage.augmented,
        seeded_splits=False,
    )


def choose_spectrogram(known: Mapping[str, Spectrogram], name: str) -> Spectrogram:
    """Returns the spectrogram of a name; raises ConfigError if a set does not have it."""
    if name not in known:
        raise unknown("spectrogram", name, known)
    return known[name]


def carve_validation(
    train: PreparedSplit, share: float, *, whole_groups: bool
) -> dict[str, Indexed]:
    """Parts a training split into ``train`` and ``val``, the same way each time.

    Clips, or whole groups of clips, are ordered by a hash of their name, and the first ones are for
    validation. So a clip that is absent hardly changes the parts of the others.

    Args:
        train: The official training split.
        share: Share of the clips or groups for validation, in (0, 1).
        whole_groups: Keep the clips of a group together.

    Raises:
        ValueError: If the share leaves a part without a clip.
    """
    chosen = first_by_hash(train.groups if whole_groups else train.names, share)
    if chosen.all() or not chosen.any():
        raise ValueError(
            f"validation must be a share that leaves clips in both parts, got {share} of "
            f"{len(train)} clips."
        )
    rows = {"train": np.flatnonzero(~chosen), "val": np.flatnonzero(chosen)}
    return {name: Indexed(train, train.index, part) for name, part in rows.items()}


def first_by_hash(keys: Sequence[str], share: float) -> Bool[np.ndarray, " N"]:
    """Marks the rows whose key is among the first of the distinct keys, in the order of a hash."""
    ordered = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    chosen = set(ordered[: max(0, round(share * len(ordered)))])
    return np.array([key in chosen for key in keys])
