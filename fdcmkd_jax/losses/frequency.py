"""FD-CMKD's frequency losses: low bands aligned strongly, high bands loosely, on one scale."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax.frequency import Basis, SoftCutoff, normalize_axes, split_bands
from fdcmkd_jax.losses.general import (
    check_same_shape,
    log_mean_squared_error,
    mean_squared_error,
    norm,
    remove_mean,
    standardize,
)
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.types import at_least_float32

BandLoss = Literal["mse", "log_mse", "none"]
Normalize = Literal["band", "before", "rms", "none"]
Reduction = Literal["mean", "sum"]


def frequency_distances(
    student: Float[Array, "N *rest"],
    teacher: Float[Array, "N *rest"],
    *,
    cutoff: float | SoftCutoff = 0.5,
    axes: Sequence[int] = (-1,),
    basis: Basis | Float[Array, "D rank"] = "dft",
    basis_seed: int = 0,
    normalize: Normalize = "band",
    low_loss: BandLoss = "mse",
    high_loss: BandLoss = "log_mse",
    reduction: Reduction = "mean",
    epsilon: float = 1e-8,
) -> dict[str, Float[Array, " N"]]:
    """Computes FD-CMKD's two losses: low bands aligned strongly, high bands loosely.

    Splits both signals, puts each band on a common scale, and compares the low bands by
    `mean_squared_error` and the high bands by `log_mean_squared_error`.

    Args:
        student: Shape ``[N, ...]``, floating.
        teacher: The same shape.
        cutoff: Share of the bins that is low, in (0, 1); see `split_bands`.
        axes: The transformed axes; see `split_bands`.
        basis: The basis of the split; see `split_bands`.
        basis_seed: Seed of the basis ``"random"``.
        normalize: The common scale. ``"band"`` standardizes each band after the split (the paper);
            ``"before"`` standardizes the signal, then splits it, so that a weak band stays weak;
            ``"rms"`` divides each band by its root mean square, which makes a band ``sqrt(D)``
            times and an MSE D times larger than ``"band"`` does, so weights should be smaller;
            ``"none"`` leaves the bands as they are. Entries of unit vectors are about
            ``1 / sqrt(D)``, where the signed log is nearly the identity; under ``"rms"`` they are
            of order 1, and the log of the high loss matters.
        low_loss: The loss of the low bands: ``"mse"``, ``"log_mse"`` or, to leave the term out,
            ``"none"``.
        high_loss: The loss of the high bands, likewise.
        reduction: ``"mean"`` averages over everything but N (the public code); ``"sum"`` sums over
            the transformed axes and averages over the others, so it is larger by their size.
        epsilon: Lower clamp of a norm.

    Returns:
        ``{"low": [N], "high": [N]}``, without a band whose loss is ``"none"``. With the defaults
        each is at most ``4 / D``.

    Raises:
        ValueError: If shapes differ, on an unknown choice or a bad axis, or for the reasons of
            `split_bands`.

    Source: arXiv 2511.19887, L_low and L_high.

    Examples:
        >>> x = jnp.sin(jnp.arange(256.0)).reshape(2, 128)
        >>> {name: loss.shape for name, loss in frequency_distances(x, x[::-1]).items()}
        {'low': (2,), 'high': (2,)}
    """
    check_same_shape(student, teacher)
    split = functools.partial(
        split_bands, cutoff=cutoff, axes=axes, basis=basis, basis_seed=basis_seed
    )
    return band_distances(
        split(at_least_float32(student))._asdict(),
        split(at_least_float32(teacher))._asdict(),
        {"low": low_loss, "high": high_loss},
        axes=axes,
        normalize=normalize,
        reduction=reduction,
        epsilon=epsilon,
    )


def band_distances(
    student: Mapping[str, Float[Array, "N *rest"]],
    teacher: Mapping[str, Float[Array, "N *rest"]],
    band_losses: Mapping[str, BandLoss],
    *,
    axes: Sequence[int] = (-1,),
    normalize: Normalize = "band",
    reduction: Reduction = "mean",
    epsilon: float = 1e-8,
) -> dict[str, Float[Array, " N"]]:
    """Computes `frequency_distances` of bands that are already split.

    Args:
        student: The student's bands by name, each ``[N, ...]``; they add up to the signal.
        teacher: The teacher's bands, the same shapes.
        band_losses: The loss of each band.
        axes: The axes over which the bands were split, and are standardized.
        normalize: See `frequency_distances`.
        reduction: See `frequency_distances`.
        epsilon: Lower clamp of a norm.

    Returns:
        ``{band: [N]}`` for the bands whose loss is not ``"none"``.

    Raises:
        ValueError: If shapes differ, or on an unknown choice or a bad axis.
    """
    check_choice("reduction", reduction, Reduction)
    check_choice("normalize", normalize, Normalize)
    for band, loss in band_losses.items():
        check_choice(f"{band}_loss", loss, BandLoss)
    shape = next(iter(student.values())).shape
    axes = normalize_axes(axes, len(shape))
    if 0 in axes:
        raise ValueError("axes must not hold the batch axis 0: a loss is one value per example.")
    student = _on_one_scale(student, normalize, axes, epsilon)
    teacher = _on_one_scale(teacher, normalize, axes, epsilon)
    scale = math.prod(shape[axis] for axis in axes) if reduction == "sum" else 1
    return {
        band: scale * _DISTANCES[loss](student[band], teacher[band])
        for band, loss in band_losses.items()
        if loss != "none"
    }


_DISTANCES: Mapping[str, Callable[[Array, Array], Array]] = {
    "mse": mean_squared_error,
    "log_mse": log_mean_squared_error,
}


def _on_one_scale(
    bands: Mapping[str, Array], normalize: Normalize, axes: tuple[int, ...], epsilon: float
) -> Mapping[str, Array]:
    """Scales the bands for comparison; see `frequency_distances`."""
    if normalize == "none":
        return bands
    if normalize == "before":
        # A split is linear, so the bands of the standardized signal are the bands over its norm.
        whole = remove_mean(functools.reduce(jnp.add, bands.values()), axes)
        length = norm(whole, axes=axes, epsilon=epsilon)
        return {name: remove_mean(band, axes) / length for name, band in bands.items()}
    unit = {name: standardize(band, axes=axes, epsilon=epsilon) for name, band in bands.items()}
    if normalize == "band":
        return unit
    root = math.sqrt(math.prod(next(iter(bands.values())).shape[axis] for axis in axes))
    return {name: root * band for name, band in unit.items()}
