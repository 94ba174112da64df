"""FD-CMKD on spoken and written digits, both directions.

    fdcmkd-jax train --config=configs/av_digits.py --workdir=runs/digits

Presets follow a colon, several joined by commas (``configs/av_digits.py:unlabelled,mismatched``).
A method's name (``kd``, ``dkd``, ``crd``, ...) trains with that method; ``paper``,
``authors_code``, ``weight_1``, ``no_align``, ``no_auxiliary`` and ``unsplit`` change FD-CMKD;
``join``, ``two_teachers`` and ``gated`` extend the method so far; ``none``, ``auxiliary``,
``smoothed``, ``random``, ``shuffled``, ``mismatched`` and ``relabelled`` are controls. See
``docs/presets.md``. Two presets are this data set's own:

    unlabelled     1,500 pairs, of which the student is shown the labels of 200
    supervised     with `unlabelled`: only those 200 pairs, no teacher, the same number of steps
"""

import ml_collections

from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = dict(name="av_digits", data_dir="", pairs_per_class=20)  # "": in the workdir.
    config.input = dict(
        batch_size=64,
        drop_remainder=True,
        in_memory=True,
        num_threads=1,
        num_workers=0,
        prefetch_batches=2,
        augment=dict(),
    )
    config.pairing = dict(kind="true", labelled_per_class=0, drop_unlabelled=False)
    config.task = dict(
        name="classification", label_smoothing=0.0, class_weights=(), primary="accuracy"
    )
    config.directions = ("audio->image", "image->audio")
    config.models = dict(
        audio=dict(name="resnet_tiny", dtype="float32"),
        image=dict(name="resnet_tiny", dtype="float32"),
    )
    config.teacher = dict(
        num_epochs=100,
        checkpoints=dict(audio="", image=""),
        start_from=dict(audio="", image=""),
        features=dict(audio="", image=""),
    )
    config.optim = dict(
        name="sgd",
        learning_rate=0.1,
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
        log_every_steps=3,
        parallel="pmap",
        sync_batch_norm=True,
        start_from=dict(audio="", image=""),
        together=True,
    )
    config.evaluate = dict(
        every_epochs=5, batch_size=64, select_split="val", select_heads=("main",)
    )
    config.checkpoint = dict(every_seconds=30.0, every_steps=0, keep_latest=2)
    common.apply(config, "fd_cmkd")
    return common.apply(config, presets, PRESETS)


def _unlabelled(config: ml_collections.ConfigDict) -> None:
    config.data.pairs_per_class = 150
    config.pairing.labelled_per_class = 20
    config.teacher.num_epochs = 30
    config.train.update(num_epochs=30, log_every_steps=23)
    config.evaluate.every_epochs = 3
    config.optim.per = "step"


def _supervised(config: ml_collections.ConfigDict) -> None:
    common.apply(config, "none")
    config.pairing.drop_unlabelled = True
    config.train.num_epochs = 230  # 690 steps of 64 on 200 pairs, as 30 epochs on 1,500.
    config.evaluate.every_epochs = 23


PRESETS = {"supervised": _supervised, "unlabelled": _unlabelled}
