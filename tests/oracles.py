"""The package's mathematics in float64 NumPy, written from the definitions and not the code."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

HALF = Fraction(1, 2)


def bands(
    x: np.ndarray, cutoff: Fraction, *, axes: Sequence[int] = (-1,), keep_dc: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high by masks on the full complex spectrum, negative frequencies and all."""
    x = np.asarray(x, np.float64)
    low = np.ones((1,) * x.ndim, bool)
    mean = np.ones((1,) * x.ndim, bool)
    for axis in axes:
        size = x.shape[axis]
        frequencies = [abs(round(size * f)) for f in np.fft.fftfreq(size)]
        shape = [1] * x.ndim
        shape[axis] = size
        inside = [Fraction(frequency, size // 2) <= cutoff for frequency in frequencies]
        low = low & np.reshape(inside, shape)
        mean = mean & np.reshape(np.equal(frequencies, 0), shape)
    spectrum = np.fft.fftn(x, axes=axes)

    def back(mask: np.ndarray) -> np.ndarray:
        return np.fft.ifftn(spectrum * mask, axes=axes).real

    return back(low if keep_dc else low & ~mean), back(~low)


def standardize(x: np.ndarray, *, axes: Sequence[int] = (-1,)) -> np.ndarray:
    centred = np.asarray(x, np.float64) - np.mean(x, axis=tuple(axes), keepdims=True)
    norm = np.sqrt(np.sum(centred**2, axis=tuple(axes), keepdims=True))
    return centred / np.maximum(norm, 1e-8)


def signed_log(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return np.sign(x) * np.log(1 + np.abs(x))


def mean_squared_error(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    difference = np.asarray(student, np.float64) - np.asarray(teacher, np.float64)
    return np.mean(difference.reshape(len(difference), -1) ** 2, axis=1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(np.asarray(logits, np.float64))
    return np.log(exponentials / exponentials.sum(-1, keepdims=True))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    chosen = np.take_along_axis(log_softmax(logits), np.asarray(labels)[..., None], axis=-1)
    return -chosen.reshape(len(chosen), -1).mean(axis=1)


def soft_divergence(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    log_s = log_softmax(np.asarray(student, np.float64) / temperature)
    log_t = log_softmax(np.asarray(teacher, np.float64) / temperature)
    divergence = np.sum(np.exp(log_t) * (log_t - log_s), axis=-1)
    return temperature**2 * divergence.reshape(len(divergence), -1).mean(axis=1)


def frequency_distances(
    student: np.ndarray, teacher: np.ndarray, cutoff: Fraction, *, axes: Sequence[int] = (-1,)
) -> dict[str, np.ndarray]:
    low_s, high_s = (standardize(b, axes=axes) for b in bands(student, cutoff, axes=axes))
    low_t, high_t = (standardize(b, axes=axes) for b in bands(teacher, cutoff, axes=axes))
    return {
        "low": mean_squared_error(low_s, low_t),
        "high": mean_squared_error(signed_log(high_s), signed_log(high_t)),
    }


def head(kernel: np.ndarray, bias: np.ndarray, band: np.ndarray) -> np.ndarray:
    """ReLU, mean over frames or positions, dense."""
    active = np.maximum(band, 0)
    pooled = active.reshape(len(active), -1, active.shape[-1]).mean(axis=1)
    return pooled @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
