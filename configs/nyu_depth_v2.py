"""FD-CMKD on NYU-Depth V2: pictures and depth of indoor scenes teach each other, DeepLabV3+.

From download to table:

    pip install ".[prepare]"
    fdcmkd-jax interop import resnet50.pth --to=runs/rgb --modality=image --num-classes=40
        --model=deeplab_v3_plus --option backbone=resnet50
    fdcmkd-jax interop import resnet50.pth --to=runs/depth --modality=depth --num-classes=40
        --model=deeplab_v3_plus --option backbone=resnet50 --one-channel=sum
    fdcmkd-jax data check nyu_depth_v2 --option manual_dir=downloads/nyu
    fdcmkd-jax train --config=configs/nyu_depth_v2.py --workdir=runs/nyu
        --config.data.manual_dir=downloads/nyu --config.data.data_dir=data

The preset ``pretrained`` starts from ``runs/rgb`` and ``runs/depth``; without it all parameters are
drawn. Published mIoU (arXiv 2511.19887, depth and RGB student): without distillation 30.9 and 34.1,
FD-CMKD 33.2 and 36.9, CIRKDv2 33.1 and 36.4, both 35.1 and 37.9. Backbone, crop, schedule and the
encoding of depth are not stated there. Presets as in ``configs/doom_rgbd.py``, and

    pretrained      start from imported weights, the backbones at a tenth of the rate
    classes13       13 classes in place of 40
    smoke           generated frames, small networks: tries the whole path in minutes on 2 cores
"""

import ml_collections

from fdcmkd_jax.config import frames
from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = frames.dense_recipe(
        name="nyu_depth_v2",
        manual_dir="",
        classes=40,
        depth="plain",
        border="keep",
        crop=(480, 480),
        scales=(0.5, 2.0),
        validation=0.1,
        strict=False,
        generated=0,
    )
    return common.apply(config, presets, PRESETS)


def _pretrained(config: ml_collections.ConfigDict) -> None:
    folders = dict(depth="runs/depth", image="runs/rgb")
    config.teacher.start_from = config.train.start_from = ml_collections.ConfigDict(folders)
    config.optim.backbone_scale = 0.1
    for modality in config.models:
        config.models[modality].backbone_momentum = 0.99


def _classes13(config: ml_collections.ConfigDict) -> None:
    config.data.classes = 13


def _smoke(config: ml_collections.ConfigDict) -> None:
    config.data.update(generated=60, crop=(48, 48), scales=(0.75, 1.5))
    for modality in config.models:
        config.models[modality].update(backbone="resnet_tiny", width=16)
    config.input.update(batch_size=8, num_threads=2, prefetch_batches=4)
    config.teacher.num_epochs = config.train.num_epochs = 10
    config.train.log_every_steps = 2
    config.evaluate.update(every_epochs=5, batch_size=8)


PRESETS = {
    **frames.PRESETS,
    "classes13": _classes13,
    "pretrained": _pretrained,
    "smoke": _smoke,
}
