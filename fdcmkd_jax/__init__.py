"""Cross-modal knowledge distillation in JAX: one modality's teacher, another modality's student.

The functions here are pure and work on anyone's arrays; `fdcmkd_jax.experiment` trains with them.
"""

from fdcmkd_jax import methods, models
from fdcmkd_jax.frequency import Bands, SoftCutoff, band_bins, split_bands
from fdcmkd_jax.losses import (
    combine,
    cross_entropy,
    frequency_distances,
    log_mean_squared_error,
    mean_squared_error,
    signed_log,
    soft_divergence,
    standardize,
)
from fdcmkd_jax.methods import Method, fd_cmkd
from fdcmkd_jax.types import Batch, Outputs, Targets

__version__ = "0.1.0"

__all__ = [
    "Bands",
    "Batch",
    "Method",
    "Outputs",
    "SoftCutoff",
    "Targets",
    "band_bins",
    "combine",
    "cross_entropy",
    "fd_cmkd",
    "frequency_distances",
    "log_mean_squared_error",
    "mean_squared_error",
    "methods",
    "models",
    "signed_log",
    "soft_divergence",
    "split_bands",
    "standardize",
]
