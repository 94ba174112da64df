"""Spectrograms on the device, as the published codes compute them on the host."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

FLOOR = 1e-7
"""Added before the logarithm, in every published variant."""


@dataclass(frozen=True)
class Spectrogram:
    """A log spectrogram of sound of a fixed length.

    Attributes:
        sample_rate: Samples a second.
        num_samples: S, samples of a clip.
        window: Samples of a frame, and of its Fourier transform.
        hop: Samples between the starts of two frames.
        kind: ``"power"``: power spectral density with SciPy's defaults (Tukey window, the mean of
            each frame removed, no padding). ``"magnitude"``: magnitudes with librosa's defaults
            (Hann window, frames centered, zeros before and after the clip).
        standardize: Subtract each clip's mean and divide by its standard deviation.
    """

    sample_rate: int
    num_samples: int
    window: int
    hop: int
    kind: Literal["power", "magnitude"]
    standardize: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """F, T and one channel."""
        length = self.num_samples + (self.window if self.kind == "magnitude" else 0)
        return self.window // 2 + 1, (length - self.window) // self.hop + 1, 1


FD_CMKD = Spectrogram(22_050, 160_000, 512, 159, "power", standardize=True)
"""257 x 1004: the script that the re-upload of FD-CMKD's code tells its users to run."""

C2KD = Spectrogram(22_050, 66_150, 512, 353, "magnitude", standardize=False)
"""257 x 188: the loader of huofushuo/C2KD and GeWu-Lab/OGM-GE_CVPR2022 for CREMA-D."""

SHORT = Spectrogram(16_000, 48_000, 512, 159, "power", standardize=False)
"""257 x 299: the variant that FD-CMKD's loader names its folder after."""

C2KD_EVENTS = Spectrogram(16_000, 160_000, 512, 159, "power", standardize=True)
"""257 x 1004: huofushuo/C2KD for AVE."""

C2KD_VGGSOUND = Spectrogram(16_000, 80_000, 256, 128, "magnitude", standardize=False)
"""129 x 626: huofushuo/C2KD for VGGSound, five seconds."""

SMALL = Spectrogram(16_000, 16_384, 256, 256, "magnitude", standardize=True)
"""129 x 65: the first second, for trials."""


def log_spectrogram(waveform: ArrayLike, spec: Spectrogram) -> Float[Array, "N F T 1"]:
    """Computes log spectrograms.

    Powers agree with SciPy in float64 to 1e-5 after the logarithm (to 2e-5 in a few bins of sound
    that is cut at 1). Magnitudes agree to 1e-5 before it: a Fourier transform in float32 is exact
    to about 1e-7 of a frame's largest magnitude, and a bin near `FLOOR` has no more digits than
    that. The published code computes in float32 too.

    Args:
        waveform: Shape ``[N, S]``; int16, or floating in [-1, 1], beyond which it is cut.
        spec: The spectrogram.

    Returns:
        Shape ``[N, F, T, 1]``, float32.

    Source: scipy.signal.spectrogram and librosa.stft with the arguments of huofushuo/C2KD and of
    the public re-upload zxn0710/re-FD-CMKD-main.
    """
    from scipy import signal  # Takes a moment, and only windows need it.

    x = jnp.asarray(waveform)
    if x.dtype == jnp.int16:
        x = x.astype(jnp.float32) / 32768
    x = jnp.clip(x.astype(jnp.float32), -1, 1)
    if spec.kind == "magnitude":
        half = spec.window // 2
        frames = _frames(jnp.pad(x, ((0, 0), (half, half))), spec)
        hann = signal.get_window("hann", spec.window).astype(np.float32)
        values = jnp.abs(jnp.fft.rfft(frames * hann[None, None]))
    else:
        frames = _frames(x, spec)
        frames = frames - frames.mean(axis=-1, keepdims=True)
        tukey = signal.get_window(("tukey", 0.25), spec.window)
        scale = 1 / (spec.sample_rate * np.square(tukey).sum())
        spectrum = jnp.fft.rfft(frames * tukey.astype(np.float32)[None, None])
        # Every bin but the first and the last stands for two of the full transform.
        sides = np.full(spec.window // 2 + 1, 2.0)
        sides[[0, -1]] = 1.0
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        values = power * (scale * sides).astype(np.float32)[None, None]
    # log(values + FLOOR) less a constant: quiet clips keep their digits through standardization.
    logs = jnp.log1p(values / FLOOR).swapaxes(1, 2)
    if spec.standardize:
        mean = logs.mean(axis=(1, 2), keepdims=True)
        deviation = logs.std(axis=(1, 2), keepdims=True)
        return ((logs - mean) / (deviation + 1e-9))[..., None]
    return (logs + np.log(FLOOR).astype(np.float32))[..., None]


def mask_bands(
    x: Float[Array, "N F T 1"],
    *,
    time_masks: Int[Array, "N M 2"],
    frequency_masks: Int[Array, "N M 2"],
) -> Float[Array, "N F T 1"]:
    """Replaces stretches of frames and of frequencies by the clip's mean.

    Args:
        x: Shape ``[N, F, T, 1]``.
        time_masks: Shape ``[N, M, 2]``: first frame and number of frames, which may be 0.
        frequency_masks: Shape ``[N, M, 2]``: first bin and number of bins.

    Source: arXiv 1904.08779 (SpecAugment, without warping).
    """

    def covered(masks: Array, size: int) -> Array:
        start, width = masks[..., :1], masks[..., 1:]
        place = jnp.arange(size)[None, None]
        return jnp.any((place >= start) & (place < start + width), axis=1)

    in_time = covered(time_masks, x.shape[2])[:, None, :, None]
    in_frequency = covered(frequency_masks, x.shape[1])[:, :, None, None]
    return jnp.where(in_time | in_frequency, x.mean(axis=(1, 2, 3), keepdims=True), x)


def _frames(x: Float[Array, "N S"], spec: Spectrogram) -> Float[Array, "N T window"]:
    count = spec.shape[1]
    places = np.arange(count)[:, None] * spec.hop + np.arange(spec.window)
    return x[:, places]
