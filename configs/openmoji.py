"""FD-CMKD on OpenMoji: the picture of a concept and its own name and keywords, true pairs.

    pip install --no-deps -r requirements-openmoji.txt
    fdcmkd-jax train --config=configs/openmoji.py --workdir=runs/openmoji

1,304 concepts of 8 groups (smileys, people, animals, ...). Here a text and its picture belong
together, not only by class, so the controls tell whether more than the class passes: ``shuffled``
pairs a picture with another text of its group. Presets as in ``configs/av_digits.py``, and

    name_only      texts are names, without keywords
    unlabelled     the student is shown the labels of 24 pairs a group, and all pairs
    supervised     with `unlabelled`: only those pairs, no teacher, the same number of steps
    minilm         token ids for a BERT imported into runs/minilm, in place of hashed words:
                   fdcmkd-jax interop import FOLDER --to=runs/minilm --num-classes=8
                   --option pooling=mean
"""

from typing import Any

import ml_collections

from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = dict(
        name="openmoji",
        data_dir="",  # In the workdir.
        text="keywords",
        tokenizer="",
        max_tokens=32,
        num_grams=4096,
        image_size=32,
        image_augment="shift",
    )
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
    config.directions = ("text->image", "image->text")
    config.models = dict(
        image=dict(name="resnet_tiny", dtype="float32"),
        text=dict(name="mlp", widths=(256, 128), dropout=0.5, dtype="float32"),
    )
    config.teacher = dict(
        num_epochs=40,
        checkpoints=dict(image="", text=""),
        start_from=dict(image="", text=""),
        features=dict(image="", text=""),
    )
    config.optim = _optim()
    config.train = dict(
        num_epochs=40,
        log_every_steps=12,
        parallel="pmap",
        sync_batch_norm=True,
        start_from=dict(image="", text=""),
        together=True,
    )
    config.evaluate = dict(
        every_epochs=5, batch_size=64, select_split="val", select_heads=("main",)
    )
    config.checkpoint = dict(every_seconds=30.0, every_steps=0, keep_latest=2)
    common.apply(config, "fd_cmkd")
    return common.apply(config, presets, PRESETS)


def _optim() -> dict[str, Any]:
    """Returns SGD, at a higher rate for texts."""
    return dict(
        name="sgd",
        learning_rate=0.1,
        end_learning_rate=1e-4,
        schedule_name="polynomial",
        power=0.9,
        per="epoch",
        warmup_steps=0,
        momentum=0.9,
        weight_decay=5e-4,
        max_gradient_norm=0.0,
        backbone_scale=1.0,
        decay_vectors=True,
        by_modality=dict(text=dict(learning_rate=0.2)),
    )


def _name_only(config: ml_collections.ConfigDict) -> None:
    config.data.text = "name"


def _unlabelled(config: ml_collections.ConfigDict) -> None:
    config.pairing.labelled_per_class = 24
    config.optim.per = "step"


def _supervised(config: ml_collections.ConfigDict) -> None:
    common.apply(config, "none")
    config.pairing.drop_unlabelled = True
    config.train.num_epochs = 160  # 480 steps of 64 on 192 pairs, as 40 epochs on 781.
    config.evaluate.every_epochs = 20


def _minilm(config: ml_collections.ConfigDict) -> None:
    config.data.tokenizer = "runs/minilm"
    config.models.text = ml_collections.ConfigDict(
        dict(
            name="bert",
            width=384,
            depth=6,
            heads=12,
            mlp_width=1536,
            vocab_size=30_522,
            max_length=512,
            dropout=0.1,
            pooling="mean",
            features="pooled",
            dtype="float32",
        )
    )
    config.teacher.start_from.text = config.train.start_from.text = "runs/minilm"
    config.teacher.num_epochs = config.train.num_epochs = 10
    config.evaluate.every_epochs = 2
    config.optim.by_modality.text = ml_collections.ConfigDict(
        dict(
            name="adamw",
            learning_rate=1e-3,
            backbone_scale=0.05,
            end_learning_rate=0.0,
            power=1.0,
            per="step",
            warmup_steps=12,
            weight_decay=0.01,
            decay_vectors=False,
            max_gradient_norm=1.0,
        )
    )


PRESETS = {
    "minilm": _minilm,
    "name_only": _name_only,
    "supervised": _supervised,
    "unlabelled": _unlabelled,
}
