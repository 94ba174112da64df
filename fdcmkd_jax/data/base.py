"""The interface of a data set: splits with random access, and the stages from record to input."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

Example = dict[str, Any]
"""One paired example: an array (or several raw arrays by name) per modality, ``label`` and ``id``
(int32 scalars). A record, as stored, may hold anything else beside ``label`` and ``id``."""

Transform = Callable[[Example, np.random.Generator | None, Collection[str]], Example]
"""The host's stage: ``(record, random, modalities) -> example``.

Makes an example of fixed shapes with ``label``, ``id`` and at least the named modalities. With a
generator it augments, for training; with None the result is the same each time, for evaluation.
What is drawn may not depend on the modalities named. An object of a class or a function at the top
of a module, so that worker processes can load it.
"""


@runtime_checkable
class Source(Protocol):
    """A split, read by position; the order is fixed."""

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def __getitem__(self, index: int) -> Example:
        """Returns the example at ``index``, in ``[0, len)``."""
        ...


class Preprocessing(NamedTuple):
    """Makes a model's input of raw values: the device's stage, and the first part of an export.

    Training and evaluation apply it to modalities whose examples hold raw arrays by name. An
    example that holds one array instead holds the model's input, already made.

    Attributes:
        inputs: By name, the shape (without N) and dtype of each raw array.
        function: ``{name: [N, ...]} -> [N, ...]``, on JAX arrays.
        constants: The numbers in it, as plain data; `data.preprocessing` rebuilds it from them.
    """

    inputs: Mapping[str, tuple[tuple[int, ...], str]]
    function: Callable[[Mapping[str, Any]], Any]
    constants: Mapping[str, Any]


class Dataset(NamedTuple):
    """A paired data set.

    Attributes:
        modalities: The keys of an example that a model can read.
        class_names: One name per class, in the order of the labels.
        splits: ``train``, ``val`` and ``test``.
        preprocessing: By modality, the preprocessing that makes a model's input; may be left out.
        transform: Makes an example of a record; None where the splits hold examples.
        augmented: The modalities that the transform changes at random in training.
        seeded_splits: The splits depend on the seed of the run, so a model that was trained with
            another seed may have seen this run's test examples.
    """

    modalities: tuple[str, ...]
    class_names: tuple[str, ...]
    splits: Mapping[str, Source]
    preprocessing: Mapping[str, Preprocessing] = {}
    transform: Transform | None = None
    augmented: tuple[str, ...] = ()
    seeded_splits: bool = True

    def first_example(self) -> Example:
        """Returns the first training example, as evaluation sees it, with every modality."""
        record = self.splits["train"][0]
        return self.transform(record, None, self.modalities) if self.transform else record
