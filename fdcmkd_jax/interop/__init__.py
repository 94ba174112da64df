"""Import of PyTorch weights and export of models: state dicts, safetensors, StableHLO functions.

The command is ``fdcmkd-jax interop import|export|inspect``; the functions below serve in code.
"""

from fdcmkd_jax.interop.catalog import identify
from fdcmkd_jax.interop.files import read, write
from fdcmkd_jax.interop.functions import export_function, read_function, write_function
from fdcmkd_jax.interop.layouts import guess_naming
from fdcmkd_jax.interop.names import (
    Mismatch,
    MismatchError,
    compare,
    from_state_dict,
    merge,
    renamed,
    to_state_dict,
)

__all__ = [
    "Mismatch",
    "MismatchError",
    "compare",
    "export_function",
    "from_state_dict",
    "guess_naming",
    "identify",
    "merge",
    "read",
    "read_function",
    "renamed",
    "to_state_dict",
    "write",
    "write_function",
]
