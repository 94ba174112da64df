"""Export of a trained model as one portable function: preprocessing and network in StableHLO."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export

from fdcmkd_jax.data import Preprocessing
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.log import write_json
from fdcmkd_jax.types import Params

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_function(model: nn.Module, variables: Params, preprocessing: Preprocessing) -> Any:
    """Exports ``{name: raw [N, ...]} -> {"logits", "probabilities": [N, K], "features"}``.

    Args:
        model: The backbone, built without an axis name.
        variables: ``{"params", "batch_stats"}``; they become constants of the function.
        preprocessing: The function from raw values to the model's input.

    Returns:
        A ``jax.export.Exported`` for any N, on CPU, GPU and TPU.
    """

    def function(raw: Mapping[str, Any]) -> dict[str, Any]:
        outputs: Any = model.apply(variables, preprocessing.function(raw), train=False)
        return {
            "logits": outputs.logits,
            "probabilities": jax.nn.softmax(outputs.logits),
            "features": outputs.features,
        }

    (size,) = export.symbolic_shape("N")
    inputs = {
        name: jax.ShapeDtypeStruct((size, *shape), jnp.dtype(dtype))
        for name, (shape, dtype) in preprocessing.inputs.items()
    }
    return export.export(jax.jit(function), platforms=PLATFORMS)(inputs)


def write_function(path: Path, exported: Any, record: Mapping[str, Any]) -> None:
    """Writes the function, and beside it a ``.json`` of its inputs, outputs and origin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(exported.serialize())
    write_json(path.with_suffix(".json"), dict(record))


def read_function(path: Path) -> Any:
    """Reads a function that `write_function` wrote; its ``call`` runs it.

    Raises:
        ConfigError: If the file is missing or holds something else.

    Examples:
        >>> function = read_function(Path("student.stablehlo"))  # doctest: +SKIP
        >>> function.call({"image": images})["probabilities"]  # doctest: +SKIP
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}.")
    try:
        return export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # The decoder may raise anything on a damaged file.
        raise ConfigError(f"{path} holds no exported function ({error}).") from error
