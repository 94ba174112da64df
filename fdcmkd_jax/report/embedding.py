"""Joint t-SNE maps of two models' features."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fdcmkd_jax.report.run import Examples

LIMIT = 500
"""Maximum number of examples on a map; more take longer and hide each other."""


class Embedding(NamedTuple):
    """A map of the features that two models compute for n examples.

    Attributes:
        teacher: ``[n, 2]`` positions of the teacher's features.
        student: ``[n, 2]`` positions of the student's.
        labels: ``[n]`` classes.
    """

    teacher: Float[np.ndarray, "n 2"]
    student: Float[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]


def evenly(count: int, limit: int) -> Int[np.ndarray, " n"]:
    """Selects at most ``limit`` indices below ``count``, evenly spaced.

    Examples:
        >>> evenly(10, 5).tolist()
        [0, 2, 4, 6, 8]
    """
    return np.arange(min(count, limit)) * count // min(count, limit)


def standardize(x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
    """Standardizes each channel over the examples; constant channels become 0.

    Args:
        x: Shape ``[n, D]``.

    Returns:
        Shape ``[n, D]``.
    """
    deviation = np.std(x, axis=0)
    return (x - np.mean(x, axis=0)) / np.where(deviation > 0, deviation, 1)


def embed(teacher: Examples, student: Examples, *, seed: int = 0) -> Embedding:
    """Computes a joint t-SNE of two models' standardized features.

    Args:
        teacher: Features ``[N, D]`` of the teacher.
        student: Features ``[N, D]`` of the student for the same examples in the same order.
        seed: Random seed of t-SNE.

    Returns:
        `Embedding` of at most `LIMIT` examples.
    """
    # Importing takes a second, and only this function needs them.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    kept = evenly(len(teacher.id), LIMIT)
    points = np.concatenate(
        [standardize(teacher.features[kept]), standardize(student.features[kept])]
    )
    perplexity = min(30.0, len(points) / 4)
    tsne = TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=seed)
    # More threads take more processor time in all, which other maps and figures need.
    with threadpool_limits(1, user_api="openmp"):
        positions = tsne.fit_transform(points)
    teacher_points, student_points = np.split(positions, 2)
    return Embedding(teacher_points, student_points, teacher.labels[kept])
