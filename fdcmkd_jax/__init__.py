"""Cross-modal knowledge distillation in JAX: a teacher of one modality, a student of another.

The functions here are pure and take any arrays; `fdcmkd_jax.experiment` trains models with them.
"""

from etils import epy

# Imported when first used, so that the command line answers --help without JAX.
with epy.lazy_api_imports(globals()):
    from fdcmkd_jax import adapters, losses, methods, models, tasks
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
    from fdcmkd_jax.methods import Method, Needs, fd_cmkd, stateless
    from fdcmkd_jax.types import Batch, Outputs, Targets

__version__ = "0.1.0"

__all__ = [
    "Bands",
    "Batch",
    "Method",
    "Needs",
    "Outputs",
    "SoftCutoff",
    "Targets",
    "adapters",
    "band_bins",
    "combine",
    "cross_entropy",
    "fd_cmkd",
    "frequency_distances",
    "log_mean_squared_error",
    "losses",
    "mean_squared_error",
    "methods",
    "models",
    "signed_log",
    "soft_divergence",
    "split_bands",
    "standardize",
    "stateless",
    "tasks",
]
