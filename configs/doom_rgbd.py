"""FD-CMKD on Doom-RGBD: rendered pictures and their depth teach each other, small DeepLabV3+.

    pip install --no-deps -r requirements-doom.txt
    fdcmkd-jax train --config=configs/doom_rgbd.py --workdir=runs/doom

Views of 32 maps are rendered on first use, in half a minute. They come from a game engine, not
from a camera; see ``docs/datasets/doom_rgbd.md``. Presets as in ``configs/av_digits.py``, of which
those that need one label per example are refused, and

    fd_cmkd         the default: the frequency losses over channels, without heads
    space           the frequency losses over height and width
    heads           with heads that classify every pixel
    kd              Hinton's distillation per pixel, at temperature 1
    cirkd           relations of pixels and regions with a memory, and kd
    cirkd_fd_cmkd   the two together
    tiny            few views and epochs, to try the whole path
"""

import ml_collections

from fdcmkd_jax.config import frames
from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = frames.dense_recipe(
        name="doom_rgbd",
        views=80,
        maps=32,
        render_seed=0,
        crop=(72, 96),
        scales=(0.75, 1.5),
    )
    for modality in config.models:
        config.models[modality].update(backbone="resnet_tiny", width=32)
    config.input.update(num_threads=2, prefetch_batches=4)
    config.teacher.num_epochs = config.train.num_epochs = 6
    config.train.together = True
    config.optim.update(name="adamw", learning_rate=0.003, weight_decay=0.01)
    config.evaluate.update(every_epochs=2, batch_size=32)
    return common.apply(config, presets, PRESETS)


def _tiny(config: ml_collections.ConfigDict) -> None:
    config.data.update(maps=5, views=12, crop=(48, 64))
    config.input.batch_size = 8
    config.teacher.num_epochs = config.train.num_epochs = 2
    config.evaluate.update(every_epochs=1, batch_size=8)
    config.train.log_every_steps = 2


PRESETS = {**frames.PRESETS, "tiny": _tiny}
