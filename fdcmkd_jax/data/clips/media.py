"""Sound and pictures of one media file, with a name for everything that may be wrong with it."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int16, Shaped

from fdcmkd_jax.registry import ConfigError

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
JPEG_QUALITY = 95
MAX_CHANNELS = 8
MISSING_SHARE = 0.2
"""Share of its stated duration that a file may lack before it counts as cut short."""


class ClipError(Exception):
    """A clip that cannot be used.

    Attributes:
        kind: One of `clip_set.KINDS`.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def library(name: str) -> Any:
    """Imports a decoder, which training does not need.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ConfigError(
            f"preparing clips needs the package {name}: pip install 'fdcmkd-jax[prepare]'."
        ) from error


def read_sound(
    path: Path, *, sample_rate: int, segment: tuple[int, int] | None = None
) -> Float[np.ndarray, " S"]:
    """Reads the sound of a file as one channel.

    Channels are averaged; soxr resamples at its quality HQ, as librosa does.

    Args:
        path: A WAV file, or any file that FFmpeg reads.
        sample_rate: Of the result, in Hz.
        segment: Start and end of the part to keep, in seconds; None, or one that is empty, for all.

    Returns:
        Shape ``[S]``, float32 in [-1, 1].

    Raises:
        ClipError: If there is no such file, it is not what it should be, or nothing is heard.
    """
    check_file(path)
    sound, rate = _read_wav(path) if path.suffix == ".wav" else _decode_sound(path)
    if segment is not None and segment[1] > segment[0]:
        sound = sound[round(segment[0] * rate) : round(segment[1] * rate)]
    if not np.isfinite(sound).all():
        raise ClipError("unreadable file", f"{path.name} holds samples that are not finite")
    if rate != sample_rate:
        sound = library("soxr").resample(sound, rate, sample_rate, quality="HQ")
    if not np.any(np.round(sound * 32768)):
        raise ClipError("silent", f"{path.name}: no sample differs from zero")
    return np.clip(sound, -1, 1).astype(np.float32)


def to_int16(sound: Float[np.ndarray, " S"]) -> Int16[np.ndarray, " S"]:
    """Rounds samples in [-1, 1] to 16 bits; exact for samples that were read from 16 bits."""
    return np.clip(np.round(sound * 32768), -32768, 32767).astype(np.int16)


def read_frames(
    path: Path, *, min_frames: int, segment: tuple[int, int] | None = None
) -> list[bytes]:
    """Reads a frame a second of a video.

    The frame rate is cut to a whole number r, and of every r frames the first is kept. Where that
    gives fewer than ``min_frames``, evenly spaced other frames join them.

    Args:
        path: A video file, or a folder of JPEG files, which are taken as they are.
        min_frames: Least number of frames, if the video has as many.
        segment: First and last second to keep; None, or one that is empty, for all.

    Returns:
        JPEG files, at least one, in the order of time.

    Raises:
        ClipError: If there is no such file, it is not what it should be, or has no picture.

    Source: the frame scripts of huofushuo/C2KD, whose further frames are drawn at random.
    """
    if path.is_dir():
        pictures = [file.read_bytes() for file in sorted(path.glob("*.jpg"))]
        if not pictures:
            raise ClipError("no picture", f"{path.name}: the folder holds no .jpg file")
        return pictures
    check_file(path)
    kept: dict[int, bytes] = {}
    count = rate = 0
    for count, (frame, rate) in enumerate(_decode_frames(path), 1):
        if (count - 1) % rate == 0 and _inside((count - 1) // rate, segment):
            kept[count - 1] = _encode(frame)
    first, last = 0, count
    if segment is not None and segment[1] > segment[0]:
        first, last = int(segment[0]) * rate, min(count, (int(segment[1]) + 1) * rate)
    others = [index for index in range(first, last) if index not in kept]
    missing = min(min_frames - len(kept), len(others))
    if missing > 0:
        places = {others[(2 * part + 1) * len(others) // (2 * missing)] for part in range(missing)}
        for index, (frame, _) in enumerate(_decode_frames(path)):
            if index in places:
                kept[index] = _encode(frame)
    if not kept:
        raise ClipError("no picture", f"{path.name}: no frame between the seconds {segment}")
    return [kept[index] for index in sorted(kept)]


def check_file(path: Path) -> None:
    """Checks that a file is there, whole, and not a stub of Git's large file storage.

    Raises:
        ClipError: If not.
    """
    if not path.is_file():
        raise ClipError("missing file", f"there is no {path.name}")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    if head == LFS_POINTER:
        raise ClipError("LFS pointer", f"{path.name} is a pointer of Git LFS; run git lfs pull")
    stated = _stated_size(path, head, size)
    if stated > size:
        raise ClipError("truncated file", f"{path.name} has {size:,} of {stated:,} bytes")


def _stated_size(path: Path, head: bytes, size: int) -> int:
    """Returns the size that a WAV or MP4 file states, or else its own."""
    if head[:4] == b"RIFF" and len(head) >= 8:
        return 8 + int.from_bytes(head[4:8], "little")
    if head[4:8] != b"ftyp":
        return max(size, 1)
    place = 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:  # A box of more than 4 GiB.
                length = int.from_bytes(header[8:16], "big")
            if length < 8:  # The last box reaches to the end.
                return size
            place += length
    return place


def _read_wav(path: Path) -> tuple[Float[np.ndarray, " S"], int]:
    soundfile = library("soundfile")
    try:
        sound, rate = soundfile.read(os.fspath(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ClipError("unreadable file", f"{path.name}: {error.error_string}") from error
    return sound.mean(axis=1), rate


def _decode_sound(path: Path) -> tuple[Float[np.ndarray, " S"], int]:
    av = library("av")
    try:
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                raise ClipError("no sound", f"{path.name} has no sound stream")
            stream = container.streams.audio[0]
            planar = av.AudioResampler(format="fltp")
            parts = [
                _average_channels(part, path)
                for frame in container.decode(stream)
                for part in planar.resample(frame)
            ]
            duration, rate = _duration(container, stream), stream.rate
    except av.FFmpegError as error:
        raise ClipError("unreadable file", f"{path.name}: {error.strerror}") from error
    if not parts:
        raise ClipError("no sound", f"the sound stream of {path.name} is empty")
    sound = np.concatenate(parts)
    _check_duration(path, len(sound) / rate, duration)
    return sound, rate


def _average_channels(frame: Any, path: Path) -> Float[np.ndarray, " S"]:
    count = frame.layout.nb_channels
    if count > MAX_CHANNELS:  # PyAV would read beyond the planes of the frame.
        raise ClipError("unreadable file", f"{path.name} states {count} channels of sound")
    return frame.to_ndarray().mean(axis=0)


def _decode_frames(path: Path) -> Iterator[tuple[Any, int]]:
    """Yields each frame with the whole part of the frame rate."""
    av = library("av")
    count = 0
    try:
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise ClipError("no picture", f"{path.name} has no picture stream")
            stream = container.streams.video[0]
            exact_rate = float(stream.average_rate or stream.guessed_rate or 1)
            rate = max(1, int(exact_rate))
            for frame in container.decode(stream):
                count += 1
                yield frame, rate
            duration = _duration(container, stream)
    except av.FFmpegError as error:
        raise ClipError("unreadable file", f"{path.name}: {error.strerror}") from error
    if not count:
        raise ClipError("no picture", f"the picture stream of {path.name} is empty")
    _check_duration(path, count / exact_rate, duration)


def _duration(container: Any, stream: Any) -> float:
    """Returns the stated duration in seconds; 0 if none is stated."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _check_duration(path: Path, seconds: float, stated: float) -> None:
    if seconds < (1 - MISSING_SHARE) * stated - 0.5:
        raise ClipError(
            "truncated file", f"{path.name} holds {seconds:.1f} of its {stated:.1f} seconds"
        )


def _inside(second: int, segment: tuple[int, int] | None) -> bool:
    return segment is None or segment[1] <= segment[0] or segment[0] <= second <= segment[1]


def _encode(frame: Any) -> bytes:
    buffer = io.BytesIO()
    frame.to_image().save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


Waveform = Shaped[np.ndarray, " S"]
"""Samples, int16 or float32 in [-1, 1]."""
