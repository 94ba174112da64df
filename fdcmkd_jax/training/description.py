"""The metadata that a trained model's folder holds beside its checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.log import read_json, write_json


class ModelDescription(NamedTuple):
    """Metadata of a saved model, in ``model.json`` beside its checkpoints.

    Attributes:
        modality: The modality it reads; empty if unknown.
        model: The backbone's name and options.
        num_classes: K.
        input_shape: Shape of one input, without N; None along an axis of any size.
        preprocessing: Plain data from which the model's preprocessing is rebuilt; None if it has
            none.
    """

    modality: str
    model: Mapping[str, Any]
    num_classes: int
    input_shape: tuple[int | None, ...]
    preprocessing: Mapping[str, Any] | None = None

    def write(self, folder: Path) -> None:
        """Writes ``model.json``."""
        write_json(folder / "model.json", self._asdict())

    @classmethod
    def read(cls, folder: Path) -> "ModelDescription":
        """Reads ``model.json``.

        Raises:
            ConfigError: If there is none, or it lacks a value.
        """
        path = folder / "model.json"
        if not path.is_file():
            raise ConfigError(f"no model.json in {folder}; expected a trained model's folder.")
        try:
            description = cls(**read_json(path))
        except TypeError as error:
            raise ConfigError(f"{path} is not the metadata of a model: {error}.") from error
        return description._replace(input_shape=tuple(description.input_shape))
