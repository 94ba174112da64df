"""Two models' features on one map."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fdcmkd_jax.report.run import Examples

LIMIT = 500
"""Examples on a map; more would take longer and hide each other."""


class Embedding(NamedTuple):
    """A map of n examples as two models see them.

    Attributes:
        teacher: ``[n, 2]`` positions of the teacher's features.
        student: ``[n, 2]`` positions of the student's.
        labels: ``[n]`` classes.
    """

    teacher: Float[np.ndarray, "n 2"]
    student: Float[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]


def evenly(count: int, limit: int) -> Int[np.ndarray, " n"]:
    """At most ``limit`` indices below ``count``, evenly spread.

    Example:
        >>> evenly(10, 5).tolist()
        [0, 2, 4, 6, 8]
    """
    return np.arange(min(count, limit)) * count // min(count, limit)


def standardize(x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
    """Each channel with mean 0 and standard deviation 1 over the examples; constant ones 0.

    Args:
        x: Shape ``[n, D]``.

    Returns:
        Shape ``[n, D]``.
    """
    deviation = np.std(x, axis=0)
    return (x - np.mean(x, axis=0)) / np.where(deviation > 0, deviation, 1)


def embed(teacher: Examples, student: Examples, *, seed: int = 0) -> Embedding:
    """A joint t-SNE of both models' standardised features.

    Args:
        teacher: Features ``[N, D]`` of the teacher.
        student: Features ``[N, D]`` of the student, row by row of the same examples.
        seed: Fixes what is random in t-SNE.

    Returns:
        `Embedding` of at most `LIMIT` examples.
    """
    from sklearn.manifold import TSNE  # A second to import, and only this needs it.

    kept = evenly(len(teacher.id), LIMIT)
    points = np.concatenate(
        [standardize(teacher.features[kept]), standardize(student.features[kept])]
    )
    perplexity = min(30.0, len(points) / 4)
    tsne = TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=seed)
    of_teacher, of_student = np.split(tsne.fit_transform(points), 2)
    return Embedding(of_teacher, of_student, teacher.labels[kept])
