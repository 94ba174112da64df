"""The examples a student sees, the labels it is shown, and the partners its teacher reads instead.

The controls are here: they change the pairs, and leave methods and models alone.
"""

import functools
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.data.index import Index, read_index

Pairing = Literal["true", "shuffled", "mismatched", "relabelled"]
PAIRINGS = ("true", "shuffled", "mismatched", "relabelled")


class View:
    """A training split as the student sees it.

    Adds to each example ``labelled`` and, where pairs are broken, ``partner``: another example,
    which the teacher reads.

    Args:
        source: The split.
        kind: ``"true"``: pairs as they are. ``"shuffled"``: partners of the same class.
            ``"mismatched"``: any partner. ``"relabelled"``: class c is taught by a fixed other
            class. The teacher's inputs are exchanged, so its logits go with its features: see
            `partners`.
        labelled_per_class: Number of examples of each class, the first by ``id``, whose labels are
            shown; 0 shows all.
        drop_unlabelled: Leave the other examples out instead of hiding their labels.
        seed: Seed of the partners' draw.

    Raises:
        ValueError: If the kind is unknown, a class is too small, or one label per example is needed
            where every pixel has one.
    """

    def __init__(
        self,
        source: Source,
        *,
        kind: Pairing = "true",
        labelled_per_class: int = 0,
        drop_unlabelled: bool = False,
        seed: int = 0,
    ) -> None:
        if kind not in PAIRINGS:
            raise ValueError(f"kind must be one of {list(PAIRINGS)}, got {kind!r}.")
        if labelled_per_class < 0:
            raise ValueError(f"labelled_per_class must not be negative, got {labelled_per_class}.")
        if drop_unlabelled and not labelled_per_class:
            raise ValueError("drop_unlabelled needs labelled_per_class.")
        self._source = source
        self._rows = np.arange(len(source))
        self._labelled = np.ones(len(source), bool)
        self._partners: np.ndarray | None = None
        if labelled_per_class or kind != "true":
            index = self._source_index
            if index.labels.ndim > 1 and (labelled_per_class or kind != "mismatched"):
                option = "labelled_per_class" if labelled_per_class else f"kind {kind!r}"
                raise ValueError(
                    f"{option} needs one label per example, but this data set labels every pixel; "
                    "there, kind may be 'true' or 'mismatched'."
                )
            if labelled_per_class:
                self._labelled = first_of_class(index.labels, index.ids, labelled_per_class)
            if kind != "true":
                self._partners = partners(index.labels, kind, seed)
        if drop_unlabelled:
            self._rows = np.flatnonzero(self._labelled)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        row = int(self._rows[index])
        example = {**self._source[row], "labelled": self._labelled[row]}
        if self._partners is not None:
            example["partner"] = self._source[int(self._partners[row])]
        return example

    @functools.cached_property
    def index(self) -> Index:
        """The split's index as the student sees it."""
        index = self._source_index
        partners = np.arange(len(index.ids)) if self._partners is None else self._partners
        index = index._replace(labelled=self._labelled, teacher_ids=index.ids[partners])
        return index.take(self._rows)

    @functools.cached_property
    def _source_index(self) -> Index:
        return read_index(self._source)


def first_of_class(
    labels: Int[np.ndarray, " N"], ids: Int[np.ndarray, " N"], count: int
) -> Bool[np.ndarray, " N"]:
    """Marks the first ``count`` examples of each class, in the order of ``ids``.

    Raises:
        ValueError: If a class has fewer than ``count`` examples.
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < count:
            raise ValueError(
                f"labelled_per_class is {count}, but class {label} has {len(members)} examples."
            )
        chosen[members[np.argsort(ids[members], kind="stable")[:count]]] = True
    return chosen


def partners(
    labels: Int[np.ndarray, "N *positions"], kind: Pairing, seed: int
) -> Int[np.ndarray, " N"]:
    """Draws the partner whose inputs the teacher reads, fixed for the whole training.

    Args:
        labels: Shape ``[N]``; of ``"mismatched"`` pairs only their number matters.
        kind: ``"shuffled"``: a permutation within each class. ``"mismatched"``: a permutation of
            all examples, so labels agree at chance. ``"relabelled"``: an example of class
            ``perm(c)``, where perm moves every class.

            Logits are those of the partner and are not renamed: on every example of class c a good
            teacher predicts ``perm(c)``. A term that compares features, or classifies both models'
            features by the example's own label, finds classes as separable as before under other
            names. A term that compares logits receives one wrong class, always the same, against
            the label; and where a label is hidden, the pseudo-label is that class. For those
            methods the control measures the cost of a consistently wrong teacher; ``"shuffled"``
            keeps the class.
        seed: Seed of the draw.

    Returns:
        Positions, shape ``[N]``.

    Raises:
        ValueError: If ``"relabelled"`` meets fewer than two classes.
    """
    random = np.random.default_rng([seed, 0x70616972])
    if kind == "mismatched":
        return random.permutation(len(labels))
    classes = np.unique(labels)
    teacher_classes = classes
    if kind == "relabelled":
        if len(classes) < 2:
            raise ValueError("relabelled pairs need at least two classes.")
        # A random cycle through all classes leaves none in place.
        cycle = random.permutation(len(classes))
        teacher_classes = np.empty_like(classes)
        teacher_classes[cycle] = classes[np.roll(cycle, 1)]
    result = np.empty(len(labels), np.int64)
    for label, teacher_class in zip(classes, teacher_classes, strict=True):
        rows, pool = np.flatnonzero(labels == label), np.flatnonzero(labels == teacher_class)
        # Every example of the teacher serves before one serves twice.
        result[rows] = np.resize(random.permutation(pool), len(rows))
    return result
