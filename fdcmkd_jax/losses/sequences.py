"""Losses of sequences with frames that are padding, and of sequences of different lengths.

Sequences have shape ``[N, T, D]``. Padding changes no result, whatever numbers it holds.

Where student and teacher have different frame rates or lengths, `resample_frames` lays the
teacher's frames on the student's first:

    >>> student, student_lengths = jnp.ones((2, 6, 8)), jnp.array([6, 4])
    >>> teacher, teacher_lengths = jnp.ones((2, 9, 8)), jnp.array([9, 3])
    >>> teacher = resample_frames(teacher, teacher_lengths, 6, new_lengths=student_lengths)
    >>> mask = frame_mask(student_lengths, 6)
    >>> sorted(masked_frequency_distances(student, teacher, mask))
    ['high', 'low']
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from fdcmkd_jax.losses.frequency import frequency_distances
from fdcmkd_jax.losses.general import check_same_shape, mean_squared_error
from fdcmkd_jax.types import at_least_float32

MAX_INT = 2**31 - 1


def frame_mask(lengths: Integer[Array, " N"], num_frames: int) -> Bool[Array, "N T"]:
    """Marks the frames that are no padding, where padding follows the valid frames.

    Args:
        lengths: Shape ``[N]``, integer, the number of valid frames, from 0 to T.
        num_frames: T.

    Returns:
        Shape ``[N, T]``, true for the first ``lengths[n]`` frames of example n.

    Examples:
        >>> frame_mask(jnp.array([1, 3]), 3).astype(int).tolist()
        [[1, 0, 0], [1, 1, 1]]
    """
    return jnp.arange(num_frames)[None, :] < lengths[:, None]


def resample_frames(
    x: Float[Array, "N T D"],
    lengths: Integer[Array, " N"] | None,
    size: int,
    *,
    new_lengths: Integer[Array, " N"] | None = None,
) -> Float[Array, "N size D"]:
    r"""Resamples the valid frames of each example by linear interpolation in time.

    New frame i of ``l'`` lies at position ``(i + 1/2) l / l' - 1/2`` of the ``l`` old ones: a frame
    stands for an equal share of the example's duration, and lies at the share's center. A position
    beyond the first or the last old frame repeats that frame. Frames are not smoothed where there
    are fewer of them, as in `adapters.resize_maps`.

    Args:
        x: Shape ``[N, T, D]``, floating; the valid frames come first.
        lengths: Shape ``[N]``, integer, the number of valid frames ``l``; None if all are valid.
            For a mask whose padding follows the valid frames, ``mask.sum(axis=1)``. A length above
            T gives NaN; an example of length 0 gives zeros.
        size: Number of frames out.
        new_lengths: Shape ``[N]``, integer, the number of frames ``l'`` over which each example is
            spread, at most ``size``; the frames after them are zeros. None for all.

    Returns:
        Shape ``[N, size, D]``, at least float32; equal to ``x`` in the valid frames of an example
        whose old and new lengths are equal.

    Raises:
        ValueError: If ``x`` is no sequence, the lengths are not one per example, ``size`` is not
            positive, or ``2 * T * size`` exceeds an int32, in which positions are computed.

    Examples:
        >>> x = jnp.array([0.0, 1.0, 2.0, 9.0]).reshape(1, 4, 1)
        >>> resample_frames(x, jnp.array([3]), 6)[0, :, 0].tolist()
        [0.0, 0.25, 0.75, 1.25, 1.75, 2.0]
    """
    _check_sequence(x, lengths=lengths, new_lengths=new_lengths)
    count, num_frames = x.shape[:2]
    if size < 1 or 2 * size * num_frames > MAX_INT:
        raise ValueError(
            f"size must lie in [1, {MAX_INT // max(2 * num_frames, 1)}] for {num_frames} frames, "
            f"got {size}."
        )
    wide = at_least_float32(x)
    if lengths is None and new_lengths is None and size == num_frames:
        return wide
    lengths = jnp.full((count,), num_frames, jnp.int32) if lengths is None else lengths
    new_lengths = jnp.full((count,), size, jnp.int32) if new_lengths is None else new_lengths
    old, new = (
        jnp.maximum(length.astype(jnp.int32), 1)[:, None] for length in (lengths, new_lengths)
    )
    # Position as a fraction of whole numbers, so that equal lengths give whole positions exactly.
    above = (2 * jnp.arange(size)[None, :] + 1) * old - new
    below = 2 * new
    above = jnp.clip(above, 0, below * (old - 1))
    first = above // below
    share = ((above - first * below) / below).astype(wide.dtype)[..., None]
    # The two neighboring frames; the last frame has itself as the second one.
    left = jnp.take_along_axis(wide, first[..., None], axis=1)
    right = jnp.take_along_axis(wide, jnp.minimum(first + 1, old - 1)[..., None], axis=1)
    mixed = (1 - share) * left + share * right
    is_valid = frame_mask(jnp.where(lengths > 0, new_lengths, 0), size)
    return jnp.where(is_valid[..., None], mixed, 0)


def masked_mean(
    x: Float[Array, "N T *rest"], mask: Bool[Array, "N T"] | None = None
) -> Float[Array, " N"]:
    """Averages each example's valid frames.

    Args:
        x: Shape ``[N, T, ...]``, floating.
        mask: Shape ``[N, T]``, false where a frame is padding; None if none is.

    Returns:
        Shape ``[N]``, at least float32; 0 for an example without a valid frame.

    Raises:
        ValueError: If the mask's shape is not that of the frames.

    Examples:
        >>> masked_mean(jnp.array([[1.0, 2.0, 9.0]]), jnp.array([[True, True, False]]))
        Array([1.5], dtype=float32)
    """
    wide = at_least_float32(x)
    axes = tuple(range(1, x.ndim))
    if mask is None:
        return jnp.mean(wide, axis=axes)
    total = jnp.sum(_zero_padding(wide, mask), axis=axes)
    entries = x.size // max(mask.size, 1)  # of one frame
    return total / (jnp.maximum(jnp.sum(mask, axis=1), 1) * entries).astype(wide.dtype)


def masked_mean_squared_error(
    student: Float[Array, "N T D"],
    teacher: Float[Array, "N T D"],
    mask: Bool[Array, "N T"] | None = None,
) -> Float[Array, " N"]:
    """Computes `mean_squared_error` over each example's valid frames.

    Args:
        student: Shape ``[N, T, D]``, floating.
        teacher: The same shape.
        mask: Shape ``[N, T]``, false where a frame is padding; None if none is.

    Returns:
        Shape ``[N]``, at least float32; 0 for an example without a valid frame. Without a mask the
        same bits as `mean_squared_error`.

    Raises:
        ValueError: If the shapes differ, or the mask's is not that of the frames.

    Examples:
        >>> student, teacher = jnp.ones((1, 2, 4)), jnp.zeros((1, 2, 4))
        >>> masked_mean_squared_error(student, teacher, jnp.array([[True, False]]))
        Array([1.], dtype=float32)
    """
    check_same_shape(student, teacher)
    if mask is None:
        return mean_squared_error(student, teacher)
    # Padding is removed before the difference: a gradient through NaN would be NaN in any frame.
    s, t = (_zero_padding(at_least_float32(x), mask) for x in (student, teacher))
    return masked_mean(jnp.square(s - t), mask)


def masked_frequency_distances(
    student: Float[Array, "N T D"],
    teacher: Float[Array, "N T D"],
    mask: Bool[Array, "N T"] | None = None,
    **options: Any,
) -> dict[str, Float[Array, " N"]]:
    """Computes `frequency_distances` of each frame over D, averaged over the valid frames.

    Args:
        student: Shape ``[N, T, D]``, floating.
        teacher: The same shape.
        mask: Shape ``[N, T]``, false where a frame is padding; None if none is.
        **options: Keywords of `frequency_distances` except ``axes``.

    Returns:
        ``{"low": [N], "high": [N]}``, at least float32, without a band whose loss is ``"none"``; 0
        for an example without a valid frame. Without a mask the same bits as
        `frequency_distances`.

    Raises:
        ValueError: If the shapes differ, the inputs are no sequences, the mask's shape is not that
            of the frames, ``axes`` is passed, or for the reasons of `frequency_distances`.

    Source: arXiv 2511.19887, applied to each frame.
    """
    check_same_shape(student, teacher)
    _check_sequence(student)
    if "axes" in options:
        raise ValueError(
            f"a frame is split over its features alone, got axes {options['axes']}; "
            "use frequency_distances for other axes."
        )
    if mask is None:
        return frequency_distances(student, teacher, **options)
    s, t = (_zero_padding(x, mask).reshape(-1, x.shape[-1]) for x in (student, teacher))
    by_frame = frequency_distances(s, t, **options)
    return {
        band: masked_mean(distance.reshape(mask.shape), mask) for band, distance in by_frame.items()
    }


def _check_sequence(x: Array, **lengths: Array | None) -> None:
    """Raises ValueError unless ``x`` is a sequence and there is one length per example."""
    if x.ndim != 3:
        raise ValueError(f"a sequence must have shape [N, T, D], got {x.shape}.")
    for name, values in lengths.items():
        if values is not None and values.shape != x.shape[:1]:
            raise ValueError(f"{name} must have shape {x.shape[:1]}, got {values.shape}.")


def _zero_padding(x: Float[Array, "N T *rest"], mask: Bool[Array, "N T"]) -> Array:
    """Replaces padding frames by zeros."""
    if mask.shape != x.shape[:2]:
        raise ValueError(f"the mask must have the frames' shape {x.shape[:2]}, got {mask.shape}.")
    return jnp.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), x, 0)
