"""Files of clips, made for a test or inside installed packages."""

import io
import json
import os
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from fdcmkd_jax.data.clips.clip_set import Clip, ClipSet

VIDEOS = "gradio/media_assets/videos"
SOUNDS = "gradio/media_assets/audio"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 91234\n".format("0" * 64)


def installed(package: str, name: str) -> Path:
    """A file inside an installed package, which is not imported."""
    return Path(str(metadata.distribution(package).locate_file(name)))


def tone(seconds: float, rate: int, pitch: float = 440, loudness: float = 0.4) -> np.ndarray:
    return loudness * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def write_wav(path: Path, sound: np.ndarray, rate: int = 16_000) -> Path:
    """Writes int16 or float samples ``[S]`` or ``[S, channels]`` as 16-bit PCM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fspath(path), sound, rate, subtype="PCM_16")
    return path


def write_video(path, grays, *, rate=8, sound=None, sound_rate=16_000, codec="libx264") -> Path:
    """Writes one even gray frame for each number, and a sound track ``[channels, S]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(os.fspath(path), "w") as container:
        audio = None
        if len(grays):
            video = container.add_stream(codec, rate=Fraction(rate))
            video.width, video.height, video.pix_fmt = 32, 16, "yuv420p"
        if sound is not None:
            layout = {1: "mono", 2: "stereo"}[len(sound)]
            audio = container.add_stream("aac", rate=sound_rate, layout=layout)
        for gray in grays:
            pixels = np.full((16, 32, 3), gray, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if len(grays):
            container.mux(video.encode())
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(
                sound.astype(np.float32), format="fltp", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = sound_rate, 0, Fraction(1, sound_rate)
            container.mux([*audio.encode(frame), *audio.encode()])
    return path


def jpeg(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=95)
    return buffer.getvalue()


def pixels_of(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"))


def cut(path: Path, share: float) -> None:
    """Keeps the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def only_sound(path: Path) -> None:
    write_video(path, (), sound=tone(2, 16_000)[None])


def only_pictures(path: Path) -> None:
    write_video(path, [60] * 20)


def silent(path: Path) -> None:
    """Replaces a WAV or MP4 file by one whose samples are all zero."""
    sound = np.zeros(32_000)
    if path.suffix == ".wav":
        write_wav(path, sound)
    else:
        write_video(path, [60] * 20, sound=sound[None])


def read_all(clip_set: ClipSet, folder: Path) -> tuple[dict[str, Clip], dict[str, str]]:
    """Clips by name, and the kinds of defects by name, of a set's lists."""
    clips, defects = clip_set.read_lists(folder)
    return {clip.name: clip for clip in clips}, {defect.name: defect.kind for defect in defects}


def metadata_of(folder: Path) -> dict:
    return json.loads((folder / "metadata.json").read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, int]:
    """Every file of a folder and when it was last written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
