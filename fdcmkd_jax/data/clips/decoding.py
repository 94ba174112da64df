"""Decoding of all clips of a set, in parallel and restartable, before they are packed."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fdcmkd_jax.data.clips import media
from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet, Defect
from fdcmkd_jax.data.clips.media import Waveform

NATIVE_RATE = 16_000
VERSION = "1.0.0"
"""The version of the records."""


def records_folder(clip_set: ClipSet, data_dir: Path, sample_rate: int, variant: str) -> Path:
    """Returns the folder of a variant of a set's records.

    Args:
        clip_set: The set.
        data_dir: Folder of all prepared records.
        sample_rate: Of the waveforms, in Hz.
        variant: Name of the lists' options.
    """
    name = "_".join(filter(None, (clip_set.name, variant, f"{sample_rate}hz")))
    return data_dir / "paired_clips" / name / VERSION


def decoded_folder(records: Path) -> Path:
    """Returns the folder of decoded clips, which are removed once they are records."""
    return records.parent.with_name(f"{records.parent.name}_decoded")


def waveform_dtype(sample_rate: int) -> str:
    """Returns the dtype of stored waveforms.

    Resampled sound is kept as float32: rounded to 16 bits, the empty high bins of a spectrogram
    would hold the rounding.
    """
    return "int16" if sample_rate == NATIVE_RATE else "float32"


def usable_clips(
    clip_set: ClipSet, manual_dir: Path | None, cache: Path, sample_rate: int
) -> tuple[list[Clip], list[Defect]]:
    """Decodes all clips; returns those that can be used, and every defect of lists and files."""
    clips, defects = clip_set.listing(manual_dir)
    assert manual_dir is not None, "checked by listing"
    unusable = decode_clips(
        clips,
        manual_dir,
        cache,
        sample_rate=sample_rate,
        dtype=waveform_dtype(sample_rate),
        min_frames=clip_set.min_frames,
        title=f"decoding {clip_set.name}",
    )
    names = {defect.name for defect in unusable}
    return [clip for clip in clips if clip.name not in names], [*defects, *unusable]


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
        if _is_decoded(_path(cache, clip), (folder / clip.sound, folder / clip.video)):
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


def _is_decoded(decoded: Path, sources: Iterable[Path]) -> bool:
    """Returns whether a clip was decoded after its files last changed."""
    try:
        written = decoded.stat().st_mtime
        return all(source.stat().st_mtime <= written for source in sources)
    except FileNotFoundError:
        return False


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
