"""Generated clips in the files of a real set, to try the whole path without a download."""

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet
from fdcmkd_jax.data.clips.media import library

SECONDS = 2.5
FRAME_RATE = 8
HEIGHT, WIDTH = 48, 64
SAMPLE_RATE = 16_000
CODECS = {".flv": ("flv", {}), ".mp4": ("libx264", {"preset": "ultrafast"})}
"""The picture codec of each kind of video file, with its options."""


def generate(clip_set: ClipSet, folder: Path, count: int) -> Path:
    """Writes lists, sound and videos in the layout of a set, unless they are there.

    Each class has a pitch and a pattern of stripes of its own, in noise. The same arguments give
    the same clips.

    Args:
        clip_set: The set whose layout is followed.
        folder: Folder of generated sets.
        count: Training clips of each class; the other splits have half as many.

    Returns:
        The folder to use as the set's ``manual_dir``.

    Raises:
        ValueError: If ``count`` is not positive.
        ConfigError: If a package that encodes media is missing.
    """
    if count < 1:
        raise ValueError(f"the number of generated clips must be positive, got {count}.")
    complete = folder / f"{clip_set.name}_{count}"
    if complete.is_dir():
        return complete
    unfinished = complete.with_name(f"unfinished_{complete.name}_{os.getpid()}")
    unfinished.mkdir(parents=True)
    clip_set.write_lists(unfinished, count)
    clips = clip_set.read_lists(unfinished).clips
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda clip: write_clip(unfinished, clip), clips)
        title = f"generating {clip_set.name}"
        for _ in tqdm(results, total=len(clips), desc=title, unit="clip", disable=None):
            pass
    try:
        unfinished.rename(complete)
    except OSError:  # Another process was faster.
        shutil.rmtree(unfinished)
    return complete


def write_clip(folder: Path, clip: Clip) -> None:
    """Writes the files of a clip that its lists name.

    Args:
        folder: The set's folder.
        clip: The clip; its name seeds the noise.
    """
    random = np.random.default_rng(list(clip.name.encode()))
    sound, pictures = make_sound(clip.label, random), make_pictures(clip.label, random)
    path = folder / clip.sound
    path.parent.mkdir(parents=True, exist_ok=True)
    if clip.sound != clip.video:
        library("soundfile").write(os.fspath(path), sound, SAMPLE_RATE, subtype="PCM_16")
        path = folder / clip.video
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, pictures)
    else:
        write_video(path, pictures, sound)


def split_counts(count: int, *others: str) -> dict[str, int]:
    """Returns the number of generated clips of a class by split: ``count``, then half as many."""
    return {"train": count, **dict.fromkeys(others, max(1, count // 2))}


def make_sound(label: int, random: np.random.Generator) -> Float[np.ndarray, " S"]:
    """Makes a tone of the class's pitch in noise, in [-1, 1]."""
    time = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 150 * 2 ** (label / 12) * random.uniform(0.98, 1.02)
    loudness = random.uniform(0.1, 0.4)
    tone = loudness * np.sin(2 * np.pi * pitch * time + random.uniform(0, 2 * np.pi))
    return np.clip(tone + 0.05 * random.normal(size=len(time)), -1, 1)


def make_pictures(label: int, random: np.random.Generator) -> UInt8[np.ndarray, "T H W 3"]:
    """Makes moving stripes of the class's direction, width and color, in noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle = np.pi * (label % 6) / 6 + random.uniform(-0.1, 0.1)
    frequency = (2 + label // 6 % 3) / WIDTH
    color = np.array([[1, 0.3, 0.3], [0.3, 1, 0.3], [0.3, 0.3, 1]])[label // 18 % 3]
    count = round(SECONDS * FRAME_RATE)
    phase = (random.uniform() + np.arange(count) / count)[:, None, None]
    place = x * np.cos(angle) + y * np.sin(angle)
    stripes = 0.5 + 0.4 * np.sin(2 * np.pi * (frequency * place + phase))
    noisy = stripes[..., None] * color + 0.1 * random.normal(size=(*stripes.shape, 1))
    return (255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def write_video(
    path: Path,
    pictures: Iterable[UInt8[np.ndarray, "H W 3"]],
    sound: Float[np.ndarray, " S"] | None = None,
) -> None:
    """Writes a video file.

    Args:
        path: Ends in ``.flv`` (Sorenson H.263) or ``.mp4`` (H.264).
        pictures: The frames, RGB.
        sound: Samples in [-1, 1], stored as AAC; None for a file without sound.
    """
    av = library("av")
    codec, options = CODECS[path.suffix]
    with av.open(os.fspath(path), "w") as container:
        video = container.add_stream(codec, rate=FRAME_RATE, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # All streams come before the first packet.
        audio = None if sound is None else container.add_stream("aac", SAMPLE_RATE, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if sound is not None:
            container.mux(_encoded(av, audio, sound))


def _encoded(av: Any, stream: Any, sound: Float[np.ndarray, " S"]) -> list[Any]:
    frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
    return [*stream.encode(frame), *stream.encode()]
