"""Spectrograms against SciPy and against a Fourier transform written out in NumPy."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from clip_files import SOUNDS, installed
from scipy import signal

from fdcmkd_jax.data.clips.media import read_sound
from fdcmkd_jax.data.clips.spectrogram import (
    C2KD,
    C2KD_EVENTS,
    C2KD_VGGSOUND,
    FD_CMKD,
    SHORT,
    SMALL,
    log_spectrogram,
    mask_bands,
)

PUBLISHED = {
    "fd_cmkd": FD_CMKD,
    "c2kd": C2KD,
    "short": SHORT,
    "c2kd_events": C2KD_EVENTS,
    "c2kd_vggsound": C2KD_VGGSOUND,
    "small": SMALL,
}
POWER = ["fd_cmkd", "short", "c2kd_events"]
MAGNITUDE = ["c2kd", "c2kd_vggsound", "small"]
SHAPES = {
    "fd_cmkd": (257, 1004, 1),
    "c2kd": (257, 188, 1),
    "short": (257, 299, 1),
    "c2kd_events": (257, 1004, 1),
    "c2kd_vggsound": (129, 626, 1),
    "small": (129, 65, 1),
}
compiled = jax.jit(log_spectrogram, static_argnums=1)


@functools.cache
def sounds(name):
    """Noise, speech, very quiet noise, and half a second repeated, ``[4, S]``."""
    spec = PUBLISHED[name]
    random = np.random.default_rng(3)
    noise = 0.1 * random.normal(size=spec.num_samples)
    speech = read_sound(
        installed("gradio", f"{SOUNDS}/cate_blanch.mp3"), sample_rate=spec.sample_rate
    )
    repeated = np.resize(random.normal(size=8000) * np.hanning(8000), spec.num_samples) / 8
    return np.stack([noise, np.resize(speech, spec.num_samples), 1e-3 * noise, repeated]).astype(
        np.float32
    )


def powers(x, spec):
    """Power spectral densities by SciPy, in float64."""
    return signal.spectrogram(
        np.clip(x.astype(np.float64), -1, 1),
        spec.sample_rate,
        nperseg=spec.window,
        noverlap=spec.window - spec.hop,
    )[2]


def magnitudes(x, spec):
    """Magnitudes of centered frames under a periodic Hann window, in float64."""
    size = spec.window
    padded = np.concatenate([np.zeros(size // 2), np.clip(x, -1, 1), np.zeros(size // 2)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    starts = range(0, len(padded) - size + 1, spec.hop)
    return np.abs(np.stack([np.fft.rfft(hann * padded[i : i + size]) for i in starts], axis=1))


def logs(values, spec):
    result = np.log(values + 1e-7)
    return (result - result.mean()) / (result.std() + 1e-9) if spec.standardize else result


@pytest.mark.parametrize("name", SHAPES)
def test_a_published_variant_has_its_shape(name):
    assert PUBLISHED[name].shape == SHAPES[name]
    assert compiled(sounds(name), PUBLISHED[name]).shape == (4, *SHAPES[name])


@pytest.mark.parametrize("name", POWER)
def test_powers_are_those_of_scipy_in_float64(name):
    spec = PUBLISHED[name]
    actual = compiled(sounds(name), spec)[..., 0]
    expected = np.stack([logs(powers(x, spec), spec) for x in sounds(name)])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", POWER)
def test_powers_of_a_full_scale_chirp_cut_at_1_are_within_rounding_of_scipys(name):
    spec = PUBLISHED[name]
    time = np.arange(spec.num_samples) / spec.sample_rate
    loud = (1.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)
    error = np.abs(compiled(loud[None], spec)[0, :, :, 0] - logs(powers(loud, spec), spec))
    assert error.max() < 3e-5
    assert (error > 1e-5).mean() < 1e-3


@pytest.mark.parametrize("name", MAGNITUDE)
def test_magnitudes_are_those_of_a_centered_transform_in_float64(name):
    spec = dataclasses.replace(PUBLISHED[name], standardize=False)
    values = np.exp(np.asarray(compiled(sounds(name), spec), np.float64)[..., 0]) - 1e-7
    for actual, x in zip(values, sounds(name), strict=True):
        expected = magnitudes(x.astype(np.float64), spec)
        largest = expected.max(axis=0)
        assert (np.abs(actual - expected) <= 1e-5 * np.maximum(largest, 1)).all()
        clear = expected > 0.05 * largest
        np.testing.assert_allclose(actual[clear], expected[clear], rtol=1e-5)
        assert clear.mean() > 0.003


def test_a_standardized_magnitude_has_mean_0_and_deviation_1_in_each_clip():
    x = np.asarray(compiled(sounds("small"), SMALL), np.float64)
    np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(1, 2, 3)), 1, atol=1e-5)
    expected = logs(magnitudes(sounds("small")[0].astype(np.float64), SMALL), SMALL)
    np.testing.assert_allclose(x[0, :, :, 0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["short", "small"])
def test_samples_of_16_bits_give_the_bits_of_the_same_numbers_in_float(name, rng):
    spec = PUBLISHED[name]
    stored = rng.integers(-32768, 32768, size=(2, spec.num_samples)).astype(np.int16)
    one, two = (compiled(x, spec) for x in (stored, (stored / 32768).astype(np.float32)))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["short", "small"])
def test_samples_beyond_1_are_cut(name):
    spec = PUBLISHED[name]
    loud = 3 * sounds(name)
    np.testing.assert_array_equal(compiled(loud, spec), compiled(np.clip(loud, -1, 1), spec))
    assert np.abs(compiled(loud, spec) - compiled(sounds(name), spec)).max() > 0.1


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_silent_clip_is_finite(name):
    spec = PUBLISHED[name]
    x = compiled(np.zeros((4, spec.num_samples), np.float32), spec)
    expected = 0 if spec.standardize else np.log(1e-7)
    np.testing.assert_allclose(x, expected, rtol=1e-6)


masked = jax.jit(
    lambda x, time, frequency: mask_bands(x, time_masks=time, frequency_masks=frequency)
)


def test_masks_replace_their_bands_by_the_clips_mean_and_nothing_else(rng):
    x = rng.normal(size=(3, 9, 14, 1)).astype(np.float32)
    for _ in range(20):
        time, frequency = (
            np.stack(
                [rng.integers(0, size, size=(3, 2)), rng.integers(0, 5, size=(3, 2))], axis=-1
            ).astype(np.int32)
            for size in (14, 9)
        )
        result = np.asarray(masked(x, time, frequency))
        for clip in range(3):
            covered = np.zeros((9, 14), bool)
            for start, width in time[clip]:
                covered[:, start : start + width] = True
            for start, width in frequency[clip]:
                covered[start : start + width] = True
            np.testing.assert_array_equal(result[clip, ~covered], x[clip, ~covered])
            np.testing.assert_allclose(result[clip, covered], x[clip].mean(), rtol=1e-5, atol=1e-6)


def test_masks_without_width_change_nothing(rng):
    x = rng.normal(size=(3, 9, 14, 1)).astype(np.float32)
    none = np.stack([rng.integers(0, 9, size=(3, 2)), np.zeros((3, 2), int)], axis=-1)
    none = none.astype(np.int32)
    np.testing.assert_array_equal(masked(x, none, none), x)
