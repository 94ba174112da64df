"""Decoding of all clips of a set, in parallel and restartable, before they are packed."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fdcmkd_jax.data.clips import media
from fdcmkd_jax.data.clips.clip_set import Clip, Defect
from fdcmkd_jax.data.clips.media import Waveform


def decode_clips(
    clips: Sequence[Clip],
    folder: Path,
    cache: Path,
    *,
    sample_rate: int,
    dtype: str,
    min_frames: int,
    title: str,
) -> list[Defect]:
    """Decodes clips to one small file each; what an earlier call decoded is kept.

    Args:
        clips: The clips.
        folder: The user's folder.
        cache: Folder of the decoded clips.
        sample_rate: Of the waveforms, in Hz.
        dtype: ``"int16"`` or ``"float32"``, of the waveforms.
        min_frames: See `media.read_frames`.
        title: Text beside the progress bar.

    Returns:
        The clips that cannot be used, in their order.
    """
    cache.mkdir(parents=True, exist_ok=True)

    def decode(clip: Clip) -> Defect | None:
        if _path(cache, clip).is_file():
            return None
        try:
            sound = media.read_sound(
                folder / clip.sound, sample_rate=sample_rate, segment=clip.segment
            )
            pictures = media.read_frames(
                folder / clip.video, min_frames=min_frames, segment=clip.segment
            )
        except media.ClipError as error:
            return Defect(error.kind, clip.name, str(error))
        _write(cache, clip, media.to_int16(sound) if dtype == "int16" else sound, pictures)
        return None

    # Decoders run outside Python's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # disable=None: no bar where the output is not a terminal.
        results = tqdm(
            pool.map(decode, clips), total=len(clips), desc=title, unit="clip", disable=None
        )
        try:
            return [defect for defect in results if defect is not None]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def read_decoded(cache: Path, clip: Clip) -> tuple[Waveform, list[bytes]]:
    """Returns waveform and frames of a decoded clip."""
    with np.load(_path(cache, clip), allow_pickle=False) as arrays:
        ends = np.cumsum(arrays["lengths"])
        joined = arrays["frames"].tobytes()
        starts = [0, *ends[:-1]]
        return arrays["waveform"], [
            joined[start:end] for start, end in zip(starts, ends, strict=True)
        ]


def _path(cache: Path, clip: Clip) -> Path:
    return cache / f"{clip.name}.npz"


def _write(cache: Path, clip: Clip, waveform: Waveform, pictures: list[bytes]) -> None:
    """Writes a decoded clip; the file appears under its name when it is complete."""
    path = _path(cache, clip)
    unfinished = path.with_name(f"{clip.name}.unfinished")
    with unfinished.open("wb") as file:
        np.savez(
            file,
            waveform=waveform,
            frames=np.frombuffer(b"".join(pictures), np.uint8),
            lengths=np.array([len(picture) for picture in pictures]),
        )
    unfinished.replace(path)
