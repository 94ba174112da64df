r"""FD-CMKD on AVE: the sound and the pictures of events teach each other.

From download to table:

    unzip AVE_Dataset.zip -d downloads    # the link is in the README of YapengTian/AVE-ECCV18
    pip install "fdcmkd-jax[prepare]"
    fdcmkd-jax data check ave --option manual_dir=downloads/AVE_Dataset --data_dir=data
    fdcmkd-jax train --config=configs/ave.py --workdir=runs/ave \
        --config.data.manual_dir=downloads/AVE_Dataset --config.data.data_dir=data
    fdcmkd-jax study studies/paper_table1.toml --workdir=runs/ave_table1 \
        --config=configs/ave.py --set data.data_dir=data
    fdcmkd-jax study studies/table2.toml --workdir=runs/ave_table2 \
        --config=configs/ave.py --set data.data_dir=data

Published test accuracies (arXiv 2511.19887, audio and visual student): without distillation 63.7
and 38.8, FD-CMKD 64.9 and 47.8. Presets as in ``configs/av_digits.py``, and

    smoke     generated clips, small networks: tries the whole path in two minutes on 2 cores
"""

import ml_collections

from fdcmkd_jax.config import clips
from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = clips.paper_recipe(
        name="ave",
        spectrogram="c2kd",
        segment=True,
        duplicates=True,
        strict=False,
        num_frames=1,
        image_size=224,
        image_augment=True,
        num_masks=0,
        time_mask=100,
        frequency_mask=27,
        generated=0,
    )
    return common.apply(config, presets, PRESETS)


def _smoke(config: ml_collections.ConfigDict) -> None:
    clips.smoke(config, clips_per_class=4)


PRESETS = {"smoke": _smoke}
