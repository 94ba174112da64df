r"""Per-example distances, divergences and cross-entropy, and their weighted sum."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from fdcmkd_jax.frequency import normalize_axes
from fdcmkd_jax.types import at_least_float32


def standardize(
    x: Float[Array, "*shape"], *, axes: Sequence[int] = (-1,), epsilon: float = 1e-8
) -> Float[Array, "*shape"]:
    r"""Standardizes a signal: subtracts its mean and divides by its L2 norm.

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

    Examples:
        >>> standardize(jnp.array([1.0, 3.0])).round(4)
        Array([-0.7071,  0.7071], dtype=float32)
    """
    axes = normalize_axes(axes, x.ndim)
    centered = remove_mean(x, axes)
    return centered / norm(centered, axes=axes, epsilon=epsilon)


def norm(
    x: Float[Array, "*shape"], *, axes: Sequence[int] = (-1,), epsilon: float = 1e-8
) -> Float[Array, "*reduced"]:
    """Computes the L2 norm, clamped from below so that its gradient is finite at zero.

    Args:
        x: Any shape, at least float32.
        axes: The axes over which the norm is taken; they stay, with length 1.
        epsilon: Lower clamp.

    Returns:
        The shape of ``x`` with length 1 in ``axes``.

    Examples:
        >>> norm(jnp.array([[3.0, 4.0]]))
        Array([[5.]], dtype=float32)
    """
    # The clamp sits under the root: sqrt has an infinite slope at zero, and inf * 0 is NaN.
    squared = jnp.sum(jnp.square(x), axis=tuple(axes), keepdims=True)
    return jnp.sqrt(jnp.maximum(squared, epsilon**2))


def signed_log(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Compresses large values of either sign by :math:`s(x) = \mathrm{sign}(x) \log(1 + |x|)`.

    Args:
        x: Any shape, floating.

    Returns:
        The shape of ``x``, at least float32; odd, increasing, with slope 1 at zero.

    Source: arXiv 2511.19887 (the high band's loose alignment).

    Examples:
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
    r"""Computes the mean squared difference within each example: strong alignment.

    .. math:: \ell_n = \frac{1}{D} \sum_d (s_{nd} - t_{nd})^2

    Args:
        student: Shape ``[N, ...]``, floating.
        teacher: The same shape. Gradients flow into both; the train step freezes the teacher.

    Returns:
        Shape ``[N]``, in squared feature units; zero only where equal.

    Raises:
        ValueError: If the shapes differ.

    Source: arXiv 2511.19887 (the low band's loss); arXiv 1412.6550 (feature distillation).

    Examples:
        >>> mean_squared_error(jnp.ones((2, 4)), jnp.zeros((2, 4)))
        Array([1., 1.], dtype=float32)
    """
    check_same_shape(student, teacher)
    return _example_mean(jnp.square(at_least_float32(student) - at_least_float32(teacher)))


def log_mean_squared_error(
    student: Float[Array, "N *rest"], teacher: Float[Array, "N *rest"]
) -> Float[Array, " N"]:
    r"""Computes the mean squared difference of signed logarithms: loose alignment.

    .. math:: \ell_n = \frac{1}{D} \sum_d (s(x_{nd}) - s(t_{nd}))^2

    Args:
        student: Shape ``[N, ...]``, floating.
        teacher: The same shape.

    Returns:
        Shape ``[N]``; at most `mean_squared_error`, since the signed log is a contraction.

    Raises:
        ValueError: If the shapes differ.

    Source: arXiv 2511.19887 (the high band's loss).

    Examples:
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
    where: Bool[Array, "N *positions"] | None = None,
) -> Float[Array, " N"]:
    """Computes the softmax cross-entropy with class indices, averaged over an example's positions.

    Args:
        logits: Shape ``[N, ..., K]``, floating.
        labels: Shape ``[N, ...]``, integer, in ``[0, K)``.
        label_smoothing: The share of the target that is spread evenly over all K classes, the
            label's included; in [0, 1).
        where: Shape ``[N, ...]``; other positions are left out, whatever their label. None for all.

    Returns:
        Shape ``[N]``, in nats; 0 for an example without any position.

    Raises:
        ValueError: If the labels' shape is not that of the logits without K, or the share is not
            in [0, 1).

    Source: arXiv 1512.00567, section 7 (label smoothing).

    Examples:
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
    labels = labels if where is None else jnp.where(where, labels, 0)
    hard = optax.softmax_cross_entropy_with_integer_labels(wide, labels)
    if not label_smoothing:
        return _example_mean(hard, where)
    even = -jnp.mean(jax.nn.log_softmax(wide), axis=-1)
    return _example_mean((1 - label_smoothing) * hard + label_smoothing * even, where)


def soft_divergence(
    student_logits: Float[Array, "N *positions K"],
    teacher_logits: Float[Array, "N *positions K"],
    *,
    temperature: float,
    where: Bool[Array, "N *positions"] | None = None,
) -> Float[Array, " N"]:
    r"""Computes the divergence of the student's softened prediction from the teacher's.

    .. math:: \ell_n = T^2 \, \mathrm{KL}(\sigma(t_n / T) \,\Vert\, \sigma(s_n / T))

    Args:
        student_logits: Shape ``[N, ..., K]``, floating.
        teacher_logits: The same shape.
        temperature: T, positive. The factor T^2 keeps gradients comparable across temperatures.
        where: Shape ``[N, ...]``; other positions are left out. None for all.

    Returns:
        Shape ``[N]``, in nats times T^2, averaged over an example's positions; 0 without any.

    Raises:
        ValueError: If the shapes differ or the temperature is not positive.

    Source: arXiv 1503.02531.

    Examples:
        >>> soft_divergence(jnp.zeros((1, 3)), jnp.zeros((1, 3)), temperature=4.0)
        Array([0.], dtype=float32)
    """
    check_same_shape(student_logits, teacher_logits)
    check_temperature(temperature)
    student = jax.nn.log_softmax(at_least_float32(student_logits) / temperature)
    teacher = jax.nn.log_softmax(at_least_float32(teacher_logits) / temperature)
    divergence = jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * _example_mean(divergence, where)


def combine(
    terms: Mapping[str, Float[Array, " N"]], weights: Mapping[str, float]
) -> Float[Array, " N"]:
    """Computes the weighted sum of loss terms for each example.

    Args:
        terms: Loss terms by name, each shape ``[N]``; at least one.
        weights: One weight per term.

    Returns:
        Shape ``[N]``.

    Raises:
        ValueError: If the names differ in either direction, or there is no term.

    Examples:
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
    """Raises ValueError unless there is exactly one weight for each named term."""
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


def check_same_shape(student: Array, teacher: Array) -> None:
    """Raises ValueError unless two arrays have the same shape."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must have one shape, got {student.shape} and {teacher.shape}; "
            "map the student to the teacher's shape first."
        )


def _example_mean(x: Float[Array, "N *rest"], where: Array | None = None) -> Float[Array, " N"]:
    axes = tuple(range(1, x.ndim))
    if where is None:
        return jnp.mean(x, axis=axes)
    return jnp.sum(jnp.where(where, x, 0), axes) / jnp.maximum(jnp.sum(where, axes), 1)


def remove_mean(x: Float[Array, "*shape"], axes: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Subtracts the mean over ``axes``, in at least float32."""
    wide = at_least_float32(x)
    return wide - jnp.mean(wide, axis=axes, keepdims=True)
