"""Files of clips, made for a test or inside installed packages."""

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from run_files import use_devices

from fdcmkd_jax.cli import train
from fdcmkd_jax.data import __main__ as command
from fdcmkd_jax.data.clips.clip_set import KINDS, Clip, ClipSet
from fdcmkd_jax.data.clips.generate import write_clip
from fdcmkd_jax.data.clips.media import ClipError
from fdcmkd_jax.models.resnet import ResNet

ROOT = Path(__file__).parents[1]

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


def write_video(
    path, grays, *, rate=8, sound=None, sound_rate=16_000, codec="libx264", title=""
) -> Path:
    """Writes one even gray frame for each number, and a sound track ``[channels, S]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(os.fspath(path), "w") as container:
        if title:
            container.metadata["title"] = title
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


def small_net(num_classes: int, axis_name: str | None = None) -> ResNet:
    """A residual network of one block, for a trial of the whole path."""
    return ResNet(
        num_classes=num_classes,
        widths=(4,),
        strides=(2,),
        depths=(1,),
        stem_width=4,
        axis_name=axis_name,
    )


REDUCED = """
import runpy

import ml_collections


def get_config():
    config = runpy.run_path({path!r})["get_config"]({presets!r})
    for modality in config.models:
        config.models[modality] = ml_collections.ConfigDict(dict(name="clip_files:small_net"))
    config.data.update({data!r})
    config.data.image_size = 16
    config.input.batch_size = config.evaluate.batch_size = 4
    config.teacher.num_epochs = config.train.num_epochs = config.evaluate.every_epochs = 1
    config.directions = ("audio->visual",)
    return config
"""
"""A config file: presets of a set, reduced to an epoch of small networks."""


def train_reduced(monkeypatch, folder: Path, name: str, presets: str, **data: object) -> Path:
    """Trains by the command line; returns the run's folder.

    Args:
        monkeypatch: Of the test.
        folder: Folder of the config file and of the run.
        name: The set.
        presets: Of the set's config.
        **data: Changes to the config's section ``data``.
    """
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    use_devices(monkeypatch, 1)
    path = str(ROOT / "configs" / f"{name}.py")
    config = folder / "reduced.py"
    config.write_text(REDUCED.format(path=path, presets=presets, data=data), encoding="utf-8")
    arguments = (f"--config={config}", f"--workdir={folder / 'run'}")
    assert train.main(arguments, prog="train.py") == 0
    return folder / "run"


def run_data(capsys, *arguments: object, expect: int = 0) -> str:
    """Runs the command for data sets; returns its output, or its one line of error."""
    capsys.readouterr()
    assert command.main([str(argument) for argument in arguments], prog="data") == expect
    captured = capsys.readouterr()
    if expect == 2:
        assert len(captured.err.splitlines()) == 1, captured.err
        return captured.err
    return captured.out


def found(report: str) -> dict[str, list[str]]:
    """The names of the defects of each kind in the lines of a check."""
    names: dict[str, list[str]] = {}
    for line in report.splitlines():
        heading = re.fullmatch(r"([\d,]+) ([\w ]+):", line)
        if heading:
            kind = heading[2]
            names[kind] = []
        elif line.startswith("    ") and not line.startswith("    and "):
            names[kind].append(line.strip().split(": ")[0])
    return names


def make_clips(clip_set: ClipSet, folder: Path) -> dict[str, Clip]:
    """Makes the files of every clip that a set's lists name; returns the clips by name."""
    clips, _ = clip_set.read_lists(folder)
    for clip in clips:
        write_clip(folder, clip)
    return {clip.name: clip for clip in clips}


def write_rows(folder: Path, **lists: Sequence[str]) -> None:
    """Writes lists in CREMA-D's layout, and its folders."""
    for name in ("AudioWAV", "VideoFlash"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, rows in lists.items():
        (folder / f"{name}.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")


def refused(kind, function, *arguments, **options):
    """Checks that a file is refused; returns the line about it."""
    with pytest.raises(ClipError) as caught:
        function(*arguments, **options)
    assert caught.value.kind == kind
    assert kind in KINDS
    assert "\n" not in str(caught.value)
    return str(caught.value)
