"""What a data set is to the rest: splits with random access, and names."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

Example = dict[str, Any]
"""One paired example: an array per modality, ``label`` and ``id`` (int32 scalars)."""


@runtime_checkable
class Source(Protocol):
    """A split, read by position; the order is fixed."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, index: int) -> Example:
        """The example at ``index``, in ``[0, len)``."""
        ...


class Dataset(NamedTuple):
    """A paired data set.

    Attributes:
        modalities: The keys of an example that a model can read.
        class_names: One name per class, in the order of the labels.
        splits: ``train``, ``val`` and ``test``.
    """

    modalities: tuple[str, ...]
    class_names: tuple[str, ...]
    splits: Mapping[str, Source]
