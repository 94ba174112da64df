r"""Per-example losses and their weighted sum.

Every loss returns one value per example, shape ``[N]``, float32 (float64 for float64 input).
Nothing here averages the batch: masking and averaging over examples and devices happen in the
train step.
"""

from fdcmkd_jax.losses.frequency import (
    BandLoss,
    Normalize,
    Reduction,
    band_distances,
    frequency_distances,
)
from fdcmkd_jax.losses.general import (
    check_temperature,
    check_weights,
    combine,
    cross_entropy,
    log_mean_squared_error,
    mean_squared_error,
    norm,
    signed_log,
    soft_divergence,
    standardize,
)
from fdcmkd_jax.losses.layers import init_layers, layer_loss, layer_losses
from fdcmkd_jax.losses.sequences import (
    frame_mask,
    masked_frequency_distances,
    masked_mean,
    masked_mean_squared_error,
    resample_frames,
)

__all__ = [
    "BandLoss",
    "Normalize",
    "Reduction",
    "band_distances",
    "check_temperature",
    "check_weights",
    "combine",
    "cross_entropy",
    "frame_mask",
    "frequency_distances",
    "init_layers",
    "layer_loss",
    "layer_losses",
    "log_mean_squared_error",
    "masked_frequency_distances",
    "masked_mean",
    "masked_mean_squared_error",
    "mean_squared_error",
    "norm",
    "resample_frames",
    "signed_log",
    "soft_divergence",
    "standardize",
]
