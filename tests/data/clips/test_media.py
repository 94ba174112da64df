"""Sound and pictures of media files, and what is said of files that cannot be used."""

import builtins

import numpy as np
import pytest
import soundfile
import soxr
from clip_files import (
    POINTER,
    cut,
    jpeg,
    pixels_of,
    refused,
    silent,
    tone,
    write_video,
    write_wav,
)

from fdcmkd_jax.data.clips.media import ClipError, check_file, read_frames, read_sound, to_int16
from fdcmkd_jax.registry import ConfigError


def grays(pictures):
    return [round(float(pixels_of(picture).mean())) for picture in pictures]


def test_samples_of_16_bits_are_read_exactly(tmp_path, rng):
    samples = rng.integers(-32768, 32768, size=3000).astype(np.int16)
    samples[:2] = -32768, 32767
    sound = read_sound(write_wav(tmp_path / "a.wav", samples), sample_rate=16_000)
    assert sound.dtype == np.float32
    np.testing.assert_array_equal(sound, samples / np.float32(32768))
    np.testing.assert_array_equal(to_int16(sound), samples)


def test_samples_beyond_16_bits_are_cut_and_not_wrapped():
    beyond = np.array([1.0, -1.0, 0.99999, 0.4 / 32768], np.float32)
    assert to_int16(beyond).tolist() == [32767, -32768, 32767, 0]


def test_channels_are_averaged(tmp_path, rng):
    samples = rng.integers(-9000, 9000, size=(500, 2)).astype(np.int16)
    sound = read_sound(write_wav(tmp_path / "a.wav", samples), sample_rate=16_000)
    np.testing.assert_allclose(sound, samples.mean(axis=1) / 32768, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("stored", "rate"), [(16_000, 22_050), (48_000, 16_000)])
def test_another_rate_is_reached_as_soxr_does_at_its_high_quality(tmp_path, stored, rate):
    path = write_wav(tmp_path / "a.wav", tone(0.5, stored), stored)
    raw = soundfile.read(path, dtype="float32")[0]
    expected = soxr.resample(raw, stored, rate, quality="HQ")
    sound = read_sound(path, sample_rate=rate)
    assert len(sound) == pytest.approx(0.5 * rate, abs=1)
    np.testing.assert_allclose(sound, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("segment", "expected"),
    [((1, 3), slice(8000, 24_000)), ((2, 10), slice(16_000, None)), ((0, 0), slice(None))],
)
def test_a_segment_of_the_sound_is_kept_and_an_empty_one_keeps_all(tmp_path, segment, expected):
    samples = np.arange(1, 30_001).astype(np.int16)
    path = write_wav(tmp_path / "a.wav", samples, 8000)
    sound = read_sound(path, sample_rate=8000, segment=segment)
    np.testing.assert_array_equal(to_int16(sound), samples[expected])


def test_the_sound_of_a_video_is_read_from_its_track(tmp_path):
    sound = np.stack([tone(1.5, 44_100, loudness=0.6), np.zeros(round(1.5 * 44_100))])
    path = write_video(tmp_path / "a.mp4", [9] * 12, sound=sound, sound_rate=44_100)
    read = read_sound(path, sample_rate=16_000)
    assert len(read) == pytest.approx(24_000, abs=1500)  # Whole blocks of 1,024.
    spectrum = np.abs(np.fft.rfft(read[4000:20_000]))
    assert np.argmax(spectrum) == 440
    assert np.abs(read[4000:20_000]).max() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("name", ["a.wav", "a.mp4"])
def test_sound_without_a_sample_that_differs_from_zero_is_silent(tmp_path, name):
    silent(tmp_path / name)
    assert name in refused("silent", read_sound, tmp_path / name, sample_rate=16_000)


def test_a_segment_without_sound_is_silent(tmp_path):
    sound = np.concatenate([tone(1, 8000), np.zeros(8000)])
    path = write_wav(tmp_path / "a.wav", sound, 8000)
    assert len(read_sound(path, sample_rate=8000, segment=(0, 1))) == 8000
    for segment in ((1, 2), (5, 7)):
        refused("silent", read_sound, path, sample_rate=8000, segment=segment)


@pytest.mark.parametrize("name", ["a.wav", "a.flv", "a.mp4"])
def test_a_pointer_of_git_lfs_is_named_with_the_command_that_mends_it(tmp_path, name):
    path = tmp_path / name
    path.write_text(POINTER, encoding="ascii")
    for read in (lambda: read_sound(path, sample_rate=8000), lambda: check_file(path)):
        assert "git lfs pull" in refused("LFS pointer", read)
    refused("LFS pointer", read_frames, path, min_frames=1)


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.flv"])
def test_a_file_that_is_not_there_is_missing(tmp_path, name):
    assert name in refused("missing file", read_sound, tmp_path / name, sample_rate=8000)
    assert name in refused("missing file", read_frames, tmp_path / name, min_frames=1)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("name", ["a.wav", "a.mp4"])
def test_a_file_that_was_cut_short_is_truncated(tmp_path, name, share):
    path = tmp_path / name
    if path.suffix == ".wav":
        write_wav(path, tone(1, 16_000))
    else:
        write_video(path, range(0, 200, 10), sound=tone(2, 16_000)[None])
    check_file(path)
    whole = path.stat().st_size
    cut(path, share)
    message = refused("truncated file", read_sound, path, sample_rate=8000)
    if share == 0.9:
        assert f"of {whole:,} bytes" in message
    if name == "a.mp4":
        refused("truncated file", read_frames, path, min_frames=1)


def test_a_flash_video_of_a_part_of_its_stated_duration_is_truncated(tmp_path):
    path = write_video(tmp_path / "a.flv", range(0, 240, 6), codec="flv")
    assert len(read_frames(path, min_frames=3)) == 5
    messages = {}
    for share in (0.6, 0.55, 0.5, 0.45, 0.4):
        cut(path, share)
        with pytest.raises(ClipError) as caught:
            read_frames(path, min_frames=3)
        messages[caught.value.kind] = str(caught.value)
    # A packet that was cut cannot be decoded; between two packets only the duration tells.
    assert set(messages) <= {"truncated file", "unreadable file"}
    assert "of its 5.0 seconds" in messages["truncated file"]


@pytest.mark.parametrize("contents", [b"", b"\x00" * 400, b"<html>not found</html>", b"RIFF"])
@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.flv"])
def test_a_file_of_something_else_is_named(tmp_path, name, contents):
    path = tmp_path / name
    path.write_bytes(contents)
    for read, options in ((read_sound, {"sample_rate": 8000}), (read_frames, {"min_frames": 1})):
        with pytest.raises(ClipError, match=name) as caught:
            read(path, **options)
        assert caught.value.kind in ("unreadable file", "truncated file")
        assert "\n" not in str(caught.value)


def test_a_video_without_a_sound_or_a_picture_stream_is_named(tmp_path):
    mute = write_video(tmp_path / "mute.mp4", [50] * 20)
    assert "no sound stream" in refused("no sound", read_sound, mute, sample_rate=8000)
    assert len(read_frames(mute, min_frames=1)) == 3
    blind = write_video(tmp_path / "blind.mp4", (), sound=tone(1, 16_000)[None])
    assert "no picture stream" in refused("no picture", read_frames, blind, min_frames=1)
    assert len(read_sound(blind, sample_rate=16_000)) >= 16_000


GRAYS = list(range(10, 250, 10))  # 24 frames: three seconds at 8 frames a second.


@pytest.mark.parametrize(
    ("rate", "kept"),
    [(8, [0, 8, 16]), ("15/2", [0, 7, 14, 21]), ("25/3", [0, 8, 16]), ("1/2", range(24))],
)
def test_the_first_of_every_whole_second_of_frames_is_kept(tmp_path, rate, kept):
    path = write_video(tmp_path / "a.mp4", GRAYS, rate=rate)
    pictures = read_frames(path, min_frames=3)
    np.testing.assert_allclose(grays(pictures), [GRAYS[index] for index in kept], atol=4)
    assert read_frames(path, min_frames=1) == pictures
    assert pixels_of(pictures[0]).shape == (16, 32, 3)


@pytest.mark.parametrize("wanted", [4, 10, 24, 90])
def test_further_frames_are_spread_evenly_and_are_the_same_each_time(tmp_path, wanted):
    path = write_video(tmp_path / "a.mp4", GRAYS)
    pictures = read_frames(path, min_frames=wanted)
    assert pictures == read_frames(path, min_frames=wanted)
    assert len(pictures) == min(wanted, 24)
    indices = [int(np.argmin(np.abs(np.array(GRAYS) - gray))) for gray in grays(pictures)]
    assert indices == sorted(set(indices))
    assert {0, 8, 16} <= set(indices)
    further = np.array(sorted(set(indices) - {0, 8, 16}))
    if wanted == 4:
        assert further == [12]  # The middle one of the 21 others.
    elif wanted == 10:
        assert np.ptp(np.diff(further)) <= 1 + 1  # One of the kept may lie between.


def test_a_segment_keeps_its_seconds_with_both_ends(tmp_path):
    path = write_video(tmp_path / "a.mp4", GRAYS)
    middle = read_frames(path, min_frames=1, segment=(1, 2))
    np.testing.assert_allclose(grays(middle), [GRAYS[8], GRAYS[16]], atol=4)
    whole = read_frames(path, min_frames=1, segment=(0, 0))
    assert whole == read_frames(path, min_frames=1)
    more = grays(read_frames(path, min_frames=6, segment=(0, 1)))
    assert len(more) == 6
    assert max(more) <= GRAYS[15] + 4
    refused("no picture", read_frames, path, min_frames=1, segment=(7, 9))


def test_a_folder_of_ready_frames_is_taken_as_it_is(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    encoded = {name: jpeg(np.full((8, 8, 3), 9 * name, np.uint8)) for name in (3, 11, 1, 20)}
    for name, picture in encoded.items():
        (folder / f"{name:05d}.jpg").write_bytes(picture)
    (folder / "Thumbs.db").write_bytes(b"x")
    assert read_frames(folder, min_frames=9) == [encoded[name] for name in (1, 3, 11, 20)]
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("no picture", read_frames, tmp_path / "empty", min_frames=1)


@pytest.mark.parametrize("name", ["av", "soxr", "soundfile"])
def test_a_decoder_that_is_not_installed_is_named_with_the_command(tmp_path, name, monkeypatch):
    paths = {
        "av": write_video(tmp_path / "a.mp4", [9] * 8, sound=tone(1, 16_000)[None]),
        "soxr": write_wav(tmp_path / "a.wav", tone(1, 8000), 8000),
        "soundfile": tmp_path / "a.wav",
    }
    load = builtins.__import__

    def missing(module, *rest, **options):
        if module == name:
            raise ImportError(module)
        return load(module, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", missing)
        with pytest.raises(ConfigError, match=rf"package {name}: pip install 'fdcmkd-jax\[prep"):
            read_sound(paths[name], sample_rate=16_000)


def test_samples_that_are_not_finite_are_named(tmp_path):
    sound = tone(0.1, 8000).astype(np.float32)
    sound[40] = np.nan
    soundfile.write(tmp_path / "a.wav", sound, 8000, subtype="FLOAT")
    assert "finite" in refused("unreadable file", read_sound, tmp_path / "a.wav", sample_rate=8000)


def test_metadata_in_another_encoding_does_not_matter(tmp_path):
    path = write_video(tmp_path / "a.mp4", [90] * 20, sound=tone(2, 16_000)[None], title="Caf__")
    whole = path.read_bytes()
    assert whole.count(b"Caf__") == 1
    path.write_bytes(whole.replace(b"Caf__", b"Caf\xe9\xff"))
    assert len(read_frames(path, min_frames=1)) == 3
    assert len(read_sound(path, sample_rate=16_000)) >= 32_000


def test_more_channels_than_a_frame_has_planes_are_refused(tmp_path):
    path = tmp_path / "a.mp4"
    write_wav(tmp_path / "a.wav", np.ones((4000, 12)) / 2)
    (tmp_path / "a.wav").rename(path)
    assert "12 channels" in refused("unreadable file", read_sound, path, sample_rate=16_000)


def test_files_with_wrong_bytes_are_read_or_named(tmp_path):
    """Whatever bytes are wrong, nothing but a `ClipError` ends the reading of a file."""
    random = np.random.default_rng(0)
    sources = [
        write_wav(tmp_path / "a.wav", tone(0.3, 16_000)),
        write_video(tmp_path / "a.mp4", [50, 90] * 8, sound=tone(2, 16_000)[None]),
        write_video(tmp_path / "a.flv", [50, 90] * 8, codec="flv"),
    ]
    kinds = set()
    for trial in range(120):
        source = sources[trial % 3]
        contents = bytearray(source.read_bytes())
        places = random.integers(0, min(len(contents), random.choice([200, 10**6])), size=9)
        for place in places:
            contents[place] = random.integers(256)
        path = tmp_path / f"wrong{source.suffix}"
        path.write_bytes(contents)
        for read in (
            lambda path=path: read_sound(path, sample_rate=16_000),
            lambda path=path: read_frames(path, min_frames=3),
        ):
            try:
                assert len(read()) > 0
                kinds.add("read")
            except ClipError as error:
                kinds.add(error.kind)
    assert kinds >= {"read", "unreadable file", "no sound", "truncated file"}
