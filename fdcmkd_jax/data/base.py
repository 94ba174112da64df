"""The interface of a data set: splits with random access, and names."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

Example = dict[str, Any]
"""One paired example: an array per modality, ``label`` and ``id`` (int32 scalars)."""


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
    """Makes a model's input of raw values, for use outside training.

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
    """

    modalities: tuple[str, ...]
    class_names: tuple[str, ...]
    splits: Mapping[str, Source]
    preprocessing: Mapping[str, Preprocessing] = {}
