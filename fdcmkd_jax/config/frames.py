"""A recipe for frames with depth and labels of pixels, shared by the config files of such sets."""

from typing import Any

import ml_collections

from fdcmkd_jax.config import presets
from fdcmkd_jax.config.presets import Change
from fdcmkd_jax.registry import constructor, defaults


def dense_recipe(**data: Any) -> ml_collections.ConfigDict:
    """Makes the config of a set of frames: two DeepLabV3+ teach each other, picture and depth.

    FD-CMKD compares the decoder's maps without heads, as arXiv 2511.19887 does for segmentation.
    The paper's backbone, crop and schedule are not stated; these are the defaults of
    VainF/DeepLabV3Plus-Pytorch and of common RGB-D code.

    Args:
        **data: The section ``data``.
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = dict(data_dir="", **data)  # data_dir "": in the workdir.
    config.input = dict(
        batch_size=16,
        drop_remainder=True,
        in_memory=False,
        num_threads=8,
        num_workers=0,
        prefetch_batches=8,
        augment=dict(),
    )
    config.pairing = dict(kind="true", labelled_per_class=0, drop_unlabelled=False)
    config.task = dict(name="segmentation", primary="mean_iou")
    config.directions = ("image->depth", "depth->image")
    config.models = dict(depth=_model(), image=_model())
    config.teacher = dict(
        num_epochs=200,
        checkpoints=dict(depth="", image=""),
        start_from=dict(depth="", image=""),
        features=dict(depth="", image=""),
    )
    config.optim = dict(
        name="sgd",
        learning_rate=0.02,
        end_learning_rate=0.0,
        schedule_name="polynomial",
        power=0.9,
        per="step",
        warmup_steps=0,
        momentum=0.9,
        weight_decay=1e-4,
        max_gradient_norm=0.0,
        backbone_scale=1.0,
        decay_vectors=True,
        by_modality=dict(),
    )
    config.train = dict(
        num_epochs=200,
        log_every_steps=10,
        parallel="pmap",
        sync_batch_norm=True,
        together=False,  # Two networks of full size at once may not fit a device.
        start_from=dict(depth="", image=""),
    )
    config.evaluate = dict(every_epochs=5, batch_size=8, select_split="val", select_heads=("main",))
    config.checkpoint = dict(every_seconds=30.0, every_steps=0, keep_latest=2)
    frequency(config)
    return config


def _model() -> dict[str, Any]:
    return dict(
        name="deeplab_v3_plus",
        backbone="resnet50",
        output_stride=16,
        features="decoder",
        width=256,
        dropout=0.1,
        backbone_width=1.0,
        backbone_momentum=0.9,
        dtype="float32",
    )


def frequency(config: ml_collections.ConfigDict) -> None:
    """Sets FD-CMKD without heads."""
    weights = {"low": 10.0, "high": 10.0}
    presets.set_method(config, weights, name="fd_cmkd", shared_heads=False, auxiliary_heads=False)


def _space(config: ml_collections.ConfigDict) -> None:
    frequency(config)
    config.method.over = "space"


def _heads(config: ml_collections.ConfigDict) -> None:
    presets.apply(config, "fd_cmkd")


def _kd(config: ml_collections.ConfigDict) -> None:
    presets.apply(config, "kd")
    config.method.temperature = 1.0  # As in winycg/CIRKD.


def _cirkd(config: ml_collections.ConfigDict) -> None:
    """Sets CIRKD with KD, on maps pooled to fewer positions."""
    presets.apply(config, "cirkd")
    parts = config.method.methods.to_dict()
    parts["cirkd"] = {**_options("cirkd"), **parts["cirkd"], "pooling": 4, "pixel_memory": 2000}
    config.method.methods = ml_collections.ConfigDict(parts)


def _both(config: ml_collections.ConfigDict) -> None:
    """Joins FD-CMKD without heads to CIRKD."""
    _cirkd(config)
    heads = {"shared_heads": False, "auxiliary_heads": False}
    parts = {**config.method.methods.to_dict(), "fd_cmkd": {**_options("fd_cmkd"), **heads}}
    weights = {**config.weights.to_dict(), "fd_cmkd_low": 10.0, "fd_cmkd_high": 10.0}
    weights.pop("task")
    presets.set_method(config, weights, name="join", methods=parts)


def _options(name: str) -> dict[str, Any]:
    """Returns every option of a method, so that flags can change any of them."""
    from fdcmkd_jax import methods

    options = defaults(constructor("method", methods.TABLE, name))
    options.pop("axis_name", None)
    return options


PRESETS: dict[str, Change] = {
    "cirkd": _cirkd,
    "cirkd_fd_cmkd": _both,
    "fd_cmkd": frequency,
    "heads": _heads,
    "kd": _kd,
    "space": _space,
}
"""Presets of such config files; they take precedence over the common ones."""
