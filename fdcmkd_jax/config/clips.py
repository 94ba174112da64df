"""The paper's recipe for clips with sound and pictures, shared by the config files of such sets."""

from typing import Any

import ml_collections

from fdcmkd_jax.config import presets


def paper_recipe(**data: Any) -> ml_collections.ConfigDict:
    """Makes the config of a set of clips: two ResNet-18 from random weights teach each other.

    Args:
        **data: The section ``data``.

    Source: arXiv 2511.19887 and the public re-upload zxn0710/re-FD-CMKD-main, except that
    validation selects and that the frequency losses weigh 10 (the preset ``paper`` has 1).
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = dict(data_dir="", manual_dir="", **data)  # data_dir "": in the workdir.
    config.input = dict(
        batch_size=64,
        drop_remainder=True,
        in_memory=False,
        num_threads=8,
        num_workers=0,
        prefetch_batches=8,
        augment=dict(),
    )
    config.pairing = dict(kind="true", labelled_per_class=0, drop_unlabelled=False)
    config.task = dict(
        name="classification", label_smoothing=0.0, class_weights=(), primary="accuracy"
    )
    config.directions = ("audio->visual", "visual->audio")
    config.models = dict(
        audio=dict(name="resnet", depth=18, dtype="float32"),
        visual=dict(name="resnet", depth=18, dtype="float32"),
    )
    config.teacher = dict(
        num_epochs=100,
        checkpoints=dict(audio="", visual=""),
        start_from=dict(audio="", visual=""),
        features=dict(audio="", visual=""),
    )
    config.optim = dict(
        name="sgd",
        learning_rate=0.01,
        end_learning_rate=1e-4,
        schedule_name="polynomial",
        power=0.9,
        per="epoch",
        warmup_steps=0,
        momentum=0.9,
        weight_decay=0.0,
        max_gradient_norm=0.0,
        backbone_scale=1.0,
        decay_vectors=True,
        by_modality=dict(),
    )
    config.train = dict(
        num_epochs=100,
        log_every_steps=10,
        parallel="pmap",
        sync_batch_norm=True,
        together=True,
        start_from=dict(audio="", visual=""),
    )
    config.evaluate = dict(
        every_epochs=1, batch_size=64, select_split="val", select_heads=("main",)
    )
    config.checkpoint = dict(every_seconds=30.0, every_steps=0, keep_latest=2)
    presets.apply(config, "fd_cmkd")
    return config


def smoke(config: ml_collections.ConfigDict, *, clips_per_class: int) -> None:
    """Changes a config to generated clips, small inputs and small networks, to try the path.

    Args:
        config: Changed in place.
        clips_per_class: Generated training clips of each class.
    """
    config.data.update(generated=clips_per_class, spectrogram="small", image_size=48)
    for modality in config.models:
        config.models[modality] = ml_collections.ConfigDict(
            dict(name="resnet_tiny", dtype="float32")
        )
    config.input.update(batch_size=16, num_threads=2, prefetch_batches=4)
    config.teacher.num_epochs = config.train.num_epochs = 8
    config.train.log_every_steps = 3
    config.evaluate.every_epochs = 2
    config.optim.learning_rate = 0.05
