"""The package's mathematics in float64 NumPy, written from the definitions and not the code."""

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from scipy import fft

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


def low_rank(size: int, cutoff: Fraction) -> int:
    """Number of complex frequencies but 0 in the DFT's low band."""
    frequencies = [abs(round(size * f)) for f in np.fft.fftfreq(size)]
    return sum(0 < Fraction(frequency, size // 2) <= cutoff for frequency in frequencies)


def dct_bands(x: np.ndarray, cutoff: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Low and high without the mean, by as many slow cosines as the DFT has low frequencies."""
    waves = fft.dct(np.asarray(x, np.float64), norm="ortho")
    index = np.arange(x.shape[-1])
    is_low = (index > 0) & (index <= low_rank(x.shape[-1], cutoff))
    is_high = (index > 0) & ~is_low
    return fft.idct(waves * is_low, norm="ortho"), fft.idct(waves * is_high, norm="ortho")


def haar_bands(x: np.ndarray, cutoff: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Low and high without the mean, level by level as far down as the size can be halved.

    Level l holds the frequencies from 2^-l to 2^(1-l): it is low if all of them are.
    """
    rest, details = np.asarray(x, np.float64), []
    while rest.shape[-1] % 2 == 0:
        even, odd = rest[..., 0::2], rest[..., 1::2]
        rest = (even + odd) / np.sqrt(2)
        details.append((even - odd) / np.sqrt(2))
    low = rest - rest.mean(-1, keepdims=True)
    high = np.zeros_like(rest)

    def back(coarse: np.ndarray, detail: np.ndarray) -> np.ndarray:
        pairs = np.stack([coarse + detail, coarse - detail], -1) / np.sqrt(2)
        return pairs.reshape(*coarse.shape[:-1], -1)

    for level in range(len(details), 0, -1):
        is_low = Fraction(2, 2**level) <= cutoff
        low = back(low, details[level - 1] * is_low)
        high = back(high, details[level - 1] * (not is_low))
    return low, high


def standardize(x: np.ndarray, *, axes: Sequence[int] = (-1,)) -> np.ndarray:
    centered = np.asarray(x, np.float64) - np.mean(x, axis=tuple(axes), keepdims=True)
    norm = np.sqrt(np.sum(centered**2, axis=tuple(axes), keepdims=True))
    return centered / np.maximum(norm, 1e-8)


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
    student: np.ndarray,
    teacher: np.ndarray,
    cutoff: Fraction,
    *,
    axes: Sequence[int] = (-1,),
    split: Callable[..., tuple[np.ndarray, np.ndarray]] = bands,
    normalize: str = "band",
    logs: tuple[bool, bool] = (False, True),
) -> dict[str, np.ndarray]:
    """Distances of the low and the high band; ``logs`` marks those compared as signed logs."""

    def scaled(x: np.ndarray) -> list[np.ndarray]:
        keywords = {} if tuple(axes) == (-1,) else {"axes": axes}
        if normalize == "before":
            return list(split(standardize(x, axes=axes), cutoff, **keywords))
        parts = split(x, cutoff, **keywords)
        if normalize == "band":
            return [standardize(part, axes=axes) for part in parts]
        if normalize == "rms":
            return [
                part / np.sqrt(np.mean(part**2, axis=tuple(axes), keepdims=True)) for part in parts
            ]
        return list(parts)

    distances = {}
    for name, is_log, student_band, teacher_band in zip(
        ("low", "high"), logs, scaled(student), scaled(teacher), strict=True
    ):
        pair = (student_band, teacher_band)
        if is_log:
            pair = tuple(map(signed_log, pair))
        distances[name] = mean_squared_error(*pair)
    return distances


def head(kernel: np.ndarray, bias: np.ndarray, band: np.ndarray) -> np.ndarray:
    """ReLU, mean over frames or positions, dense."""
    active = np.maximum(band, 0)
    pooled = active.reshape(len(active), -1, active.shape[-1]).mean(axis=1)
    return pooled @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
