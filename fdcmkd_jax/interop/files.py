"""State dicts in files: PyTorch's (tensors only, no code runs) and safetensors."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fdcmkd_jax.interop.names import StateDict
from fdcmkd_jax.registry import ConfigError, unknown

PYTORCH = (".pt", ".pth")
SAFETENSORS = ".safetensors"


def read(path: Path, *, entry: str = "") -> StateDict:
    """Reads a file's arrays by key.

    Args:
        path: ``.pt`` or ``.pth`` (loaded with ``weights_only=True``, which refuses a file with
            anything but tensors and plain containers, and runs no code), or ``.safetensors``.
        entry: The key of the state dict in a ``.pt`` file that holds several.

    Returns:
        Arrays by key, bit for bit. A prefix ``module.`` on every key (DataParallel's) is removed.

    Raises:
        ConfigError: If the file is missing, of another kind, damaged or unsafe, or holds no state
            dict, or if the package that reads it is missing.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}.")
    if path.suffix == SAFETENSORS:
        arrays = _read_safetensors(path)
    elif path.suffix in PYTORCH:
        arrays = _read_pytorch(path, entry)
    else:
        raise ConfigError(f"{path} must end in {', '.join((*PYTORCH, SAFETENSORS))}.")
    if arrays and all(key.startswith("module.") for key in arrays):
        arrays = {key.removeprefix("module."): value for key, value in arrays.items()}
    return arrays


def write(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict, bit for bit, in the format of the suffix of ``path``.

    Raises:
        ConfigError: If the suffix is not one that `read` accepts, or a package is missing.
    """
    if path.suffix not in (*PYTORCH, SAFETENSORS):
        raise ConfigError(f"{path} must end in {', '.join((*PYTORCH, SAFETENSORS))}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == SAFETENSORS:
        _safetensors().save_file(dict(state), path)
    else:
        torch = _torch()
        torch.save({key: torch.from_numpy(value.copy()) for key, value in state.items()}, path)


def _read_pytorch(path: Path, entry: str) -> StateDict:
    torch = _torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The error below names the problem.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ConfigError(
            f"{path} was refused; only files of plain tensors are read ({reason})"
        ) from error
    if entry:
        if not isinstance(content, dict) or entry not in content:
            known = [str(key) for key in content] if isinstance(content, dict) else []
            raise unknown(f"entry of {path}:", entry, known)
        content = content[entry]
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path} holds no state dict but {type(content).__name__}.")
    if not all(isinstance(value, torch.Tensor) for value in content.values()):
        inner = [str(key) for key, value in content.items() if isinstance(value, dict)]
        raise ConfigError(
            f"{path} holds other things beside tensors; choose the entry that is a state dict"
            + (f" with --entry: {', '.join(inner)}." if inner else ", there is none in it.")
        )
    return {str(key): _array(value) for key, value in content.items()}


def _array(tensor: Any) -> np.ndarray:
    """Returns the tensor's values; bfloat16, which NumPy lacks, becomes float32."""
    detached = tensor.detach()
    if str(detached.dtype) == "torch.bfloat16":
        detached = detached.float()
    return detached.contiguous().numpy()


def _read_safetensors(path: Path) -> StateDict:
    library = _safetensors()
    try:
        return dict(library.load_file(path))
    except Exception as error:  # Its Rust core raises a class of its own, and OSError.
        raise ConfigError(f"{path} is not a readable safetensors file ({error}).") from error


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise ConfigError(
            "PyTorch files need PyTorch: pip install 'fdcmkd-jax[torch]', or use .safetensors."
        ) from None
    return torch


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        raise ConfigError(
            "safetensors files need a package: pip install 'fdcmkd-jax[torch]'."
        ) from None
    return safetensors.numpy
