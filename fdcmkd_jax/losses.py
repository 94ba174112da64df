r"""Per-example distances, divergences and cross-entropy; their weighted sum.

Every loss returns one value per example, shape ``[N]``, float32 (float64 for float64 input).
Nothing here averages the batch: masking and averaging over examples and devices are the step's job.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from fdcmkd_jax.frequency import Basis, SoftCutoff, normalize_axes, split_bands
from fdcmkd_jax.tables import check_choice
from fdcmkd_jax.types import at_least_float32

BandLoss = Literal["mse", "log_mse", "none"]
Normalize = Literal["band", "before", "rms", "none"]
Reduction = Literal["mean", "sum"]


def standardize(
    x: Float[Array, "*shape"], *, axes: Sequence[int] = (-1,), epsilon: float = 1e-8
) -> Float[Array, "*shape"]:
    r"""Puts a signal on a common scale: mean removed, divided by its L2 norm.

    .. math:: \mathrm{Std}(x) = \frac{x - \bar x}{\max(\lVert x - \bar x \rVert_2, \epsilon)}

    Args:
        x: Any shape, floating.
        axes: The axes over which mean and norm are taken.
        epsilon: Lower clamp of the norm, so a constant signal gives zeros and finite gradients.

    Returns:
        The shape of ``x``, at least float32, of unit norm over ``axes``.

    Raises:
        ValueError: If an axis repeats or does not exist.

    Source: arXiv 2511.19887 (scale consistency); the clamp at 1e-8 is its public code's.

    Example:
        >>> standardize(jnp.array([1.0, 3.0])).round(4)
        Array([-0.7071,  0.7071], dtype=float32)
    """
    axes = normalize_axes(axes, x.ndim)
    centred = _centre(x, axes)
    return centred / norm(centred, axes=axes, epsilon=epsilon)


def norm(
    x: Float[Array, "*shape"], *, axes: Sequence[int] = (-1,), epsilon: float = 1e-8
) -> Float[Array, "*reduced"]:
    """The L2 norm, bounded from below so that its gradient is finite at zero.

    Args:
        x: Any shape, at least float32.
        axes: The axes over which the norm is taken; they stay, with length 1.
        epsilon: Lower clamp.

    Returns:
        The shape of ``x`` with length 1 in ``axes``.

    Example:
        >>> norm(jnp.array([[3.0, 4.0]]))
        Array([[5.]], dtype=float32)
    """
    # The clamp sits under the root: sqrt has an infinite slope at zero, and inf * 0 is NaN.
    squared = jnp.sum(jnp.square(x), axis=tuple(axes), keepdims=True)
    return jnp.sqrt(jnp.maximum(squared, epsilon**2))


def signed_log(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Compresses large values of either sign: :math:`s(x) = \mathrm{sign}(x) \log(1 + |x|)`.

    Args:
        x: Any shape, floating.

    Returns:
        The shape of ``x``, at least float32; odd, increasing, with slope 1 at zero.

    Source: arXiv 2511.19887 (the high band's weak alignment).

    Example:
        >>> signed_log(jnp.array([-1.0, 0.0, 1.0])).round(4)
        Array([-0.6931,  0.    ,  0.6931], dtype=float32)
    """
    wide = at_least_float32(x)
    negative = wide < 0
    # Not sign(x) * log1p(|x|): its derivative at zero comes out as 0 instead of 1.
    log = jnp.log1p(jnp.where(negative, -wide, wide))
    return jnp.where(negative, -log, log)


def mean_squared_error(
    student: Float[Array, "N *rest"], teacher: Float[Array, "N *rest"]
) -> Float[Array, " N"]:
    r"""Strong alignment: the mean squared difference within each example.

    .. math:: \ell_n = \frac{1}{D} \sum_d (s_{nd} - t_{nd})^2

    Args:
        student: Shape ``[N, ...]``, floating.
        teacher: The same shape. Gradients flow into both; freezing is the train step's job.

    Returns:
        Shape ``[N]``, in squared feature units; zero only where equal.

    Raises:
        ValueError: If the shapes differ.

    Source: arXiv 2511.19887 (the low band's loss); arXiv 1412.6550 (feature distillation).

    Example:
        >>> mean_squared_error(jnp.ones((2, 4)), jnp.zeros((2, 4)))
        Array([1., 1.], dtype=float32)
    """
    _check_same_shape(student, teacher)
    return _example_mean(jnp.square(at_least_float32(student) - at_least_float32(teacher)))


def log_mean_squared_error(
    student: Float[Array, "N *rest"], teacher: Float[Array, "N *rest"]
) -> Float[Array, " N"]:
    r"""Weak alignment: the mean squared difference of signed logarithms within each example.

    .. math:: \ell_n = \frac{1}{D} \sum_d (s(x_{nd}) - s(t_{nd}))^2

    Args:
        student: Shape ``[N, ...]``, floating.
        teacher: The same shape.

    Returns:
        Shape ``[N]``; at most `mean_squared_error`, since the signed log is a contraction.

    Raises:
        ValueError: If the shapes differ.

    Source: arXiv 2511.19887 (the high band's loss).

    Example:
        >>> distance = log_mean_squared_error(jnp.ones((1, 4)), jnp.zeros((1, 4)))
        >>> bool(jnp.allclose(distance, jnp.log(2.0) ** 2))
        True
    """
    return mean_squared_error(signed_log(student), signed_log(teacher))


def cross_entropy(
    logits: Float[Array, "N *positions K"],
    labels: Int[Array, "N *positions"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, " N"]:
    """Softmax cross-entropy against class indices, averaged over an example's positions.

    Args:
        logits: Shape ``[N, ..., K]``, floating.
        labels: Shape ``[N, ...]``, integer, in ``[0, K)``.
        label_smoothing: The share of the target that is spread evenly over all K classes, the
            labelled one among them; in [0, 1).

    Returns:
        Shape ``[N]``, in nats.

    Raises:
        ValueError: If the labels' shape is not that of the logits without K, or the share is not
            in [0, 1).

    Source: arXiv 1512.00567, section 7 (label smoothing).

    Example:
        >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4)
        Array([1.3863], dtype=float32)
    """
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have the logits' shape without classes, {logits.shape[:-1]}, "
            f"got {labels.shape}."
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")
    wide = at_least_float32(logits)
    hard = optax.softmax_cross_entropy_with_integer_labels(wide, labels)
    if not label_smoothing:
        return _example_mean(hard)
    even = -jnp.mean(jax.nn.log_softmax(wide), axis=-1)
    return _example_mean((1 - label_smoothing) * hard + label_smoothing * even)


def soft_divergence(
    student_logits: Float[Array, "N *positions K"],
    teacher_logits: Float[Array, "N *positions K"],
    *,
    temperature: float,
) -> Float[Array, " N"]:
    r"""How far the student's softened prediction is from the teacher's.

    .. math:: \ell_n = T^2 \, \mathrm{KL}(\sigma(t_n / T) \,\Vert\, \sigma(s_n / T))

    Args:
        student_logits: Shape ``[N, ..., K]``, floating.
        teacher_logits: The same shape.
        temperature: T, positive. The factor T^2 keeps gradients comparable across temperatures.

    Returns:
        Shape ``[N]``, in nats times T^2, averaged over an example's positions.

    Raises:
        ValueError: If the shapes differ or the temperature is not positive.

    Source: arXiv 1503.02531.

    Example:
        >>> soft_divergence(jnp.zeros((1, 3)), jnp.zeros((1, 3)), temperature=4.0)
        Array([0.], dtype=float32)
    """
    _check_same_shape(student_logits, teacher_logits)
    check_temperature(temperature)
    student = jax.nn.log_softmax(at_least_float32(student_logits) / temperature)
    teacher = jax.nn.log_softmax(at_least_float32(teacher_logits) / temperature)
    divergence = jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * _example_mean(divergence)


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
    """FD-CMKD's pair of losses: low bands aligned strongly, high bands weakly.

    Splits both signals, puts each band on a common scale, and compares the low bands by
    `mean_squared_error` and the high bands by `log_mean_squared_error`.

    Args:
        student: Shape ``[N, ...]``, floating.
        teacher: The same shape.
        cutoff: Share of the bins that is low, in (0, 1); see `split_bands`.
        axes: The transformed axes; see `split_bands`.
        basis: What divides a signal into bands; see `split_bands`.
        basis_seed: Which split the basis ``"random"`` draws.
        normalize: The common scale. ``"band"`` standardises each band after the split (the paper);
            ``"before"`` standardises the signal, then splits it, so that a weak band stays weak;
            ``"rms"`` divides each band by its root mean square, which makes it ``sqrt(D)`` and an
            MSE D times larger than ``"band"`` does, so weights want to be smaller; ``"none"``
            leaves the bands as they are. Entries of unit vectors are about ``1 / sqrt(D)``, where
            the signed log is nearly the identity; under ``"rms"`` they are of order 1, and the log
            of the high loss matters.
        low_loss: How the low bands are compared: ``"mse"``, ``"log_mse"`` or, to leave the term
            out, ``"none"``.
        high_loss: How the high bands are compared, likewise.
        reduction: ``"mean"`` averages over everything but N (the public code); ``"sum"`` sums over
            the transformed axes and averages over the others, so it is their size times larger.
        epsilon: Lower clamp of a norm.

    Returns:
        ``{"low": [N], "high": [N]}``, less a band whose loss is ``"none"``. Under the defaults each
        is at most ``4 / D``.

    Raises:
        ValueError: If shapes differ, on an unknown choice or a bad axis, or on what `split_bands`
            refuses.

    Source: arXiv 2511.19887, L_low and L_high.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (2, 128))
        >>> {name: loss.shape for name, loss in frequency_distances(x, x[::-1]).items()}
        {'low': (2,), 'high': (2,)}
    """
    _check_same_shape(student, teacher)
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
    """`frequency_distances` of bands that are split already, so nothing is transformed twice.

    Args:
        student: The student's bands by name, each ``[N, ...]``; they add up to the signal.
        teacher: The teacher's bands, the same shapes.
        band_losses: How each band is compared.
        axes: The axes over which the bands were split, and are put on one scale.
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
    """The bands as they are compared; see `frequency_distances`."""
    if normalize == "none":
        return bands
    if normalize == "before":
        # A split is linear, so the bands of the standardised signal are the bands over its norm.
        whole = _centre(functools.reduce(jnp.add, bands.values()), axes)
        length = norm(whole, axes=axes, epsilon=epsilon)
        return {name: _centre(band, axes) / length for name, band in bands.items()}
    unit = {name: standardize(band, axes=axes, epsilon=epsilon) for name, band in bands.items()}
    if normalize == "band":
        return unit
    root = math.sqrt(math.prod(next(iter(bands.values())).shape[axis] for axis in axes))
    return {name: root * band for name, band in unit.items()}


def combine(
    terms: Mapping[str, Float[Array, " N"]], weights: Mapping[str, float]
) -> Float[Array, " N"]:
    """The weighted sum of loss terms, example by example.

    Args:
        terms: Loss terms by name, each shape ``[N]``; at least one.
        weights: One weight per term.

    Returns:
        Shape ``[N]``.

    Raises:
        ValueError: If the names differ in either direction, or there is no term.

    Example:
        >>> combine({"low": jnp.ones(2), "high": jnp.ones(2)}, {"low": 10.0, "high": 1.0})
        Array([11., 11.], dtype=float32)
    """
    check_weights(weights, terms)
    if not terms:
        raise ValueError("there is no loss term to combine.")
    return sum((weights[name] * term for name, term in terms.items()), start=jnp.zeros(()))


def check_weights(
    weights: Mapping[str, float], names: Mapping[str, object] | Sequence[str]
) -> None:
    """Raises ValueError unless there is exactly one weight for each of the named terms."""
    missing = sorted(set(names) - set(weights))
    extra = sorted(set(weights) - set(names))
    if missing or extra:
        raise ValueError(
            f"weights must name exactly the loss terms {sorted(names)}; "
            f"missing {missing}, not a term {extra}."
        )


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless the temperature is positive."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}.")


def _check_same_shape(student: Array, teacher: Array) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must have one shape, got {student.shape} and {teacher.shape}; "
            "project the student first."
        )


def _example_mean(x: Float[Array, "N *rest"]) -> Float[Array, " N"]:
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))


def _centre(x: Float[Array, "*shape"], axes: tuple[int, ...]) -> Float[Array, "*shape"]:
    wide = at_least_float32(x)
    return wide - jnp.mean(wide, axis=axes, keepdims=True)
