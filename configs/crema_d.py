r"""FD-CMKD on CREMA-D: the voice and the face of acted emotions teach each other.

From download to table:

    git clone https://github.com/CheyneyComputerScience/CREMA-D downloads/CREMA-D   # with git lfs
    cp train.csv test.csv downloads/CREMA-D    # from huofushuo/C2KD, cramed/utils/data/CREMAD
    pip install "fdcmkd-jax[prepare]"
    fdcmkd-jax data check crema_d --option manual_dir=downloads/CREMA-D --data_dir=data
    fdcmkd-jax train --config=configs/crema_d.py --workdir=runs/crema_d \
        --config.data.manual_dir=downloads/CREMA-D --config.data.data_dir=data
    fdcmkd-jax study studies/paper_table1.toml --workdir=runs/crema_d_table1 \
        --config=configs/crema_d.py --set data.data_dir=data
    fdcmkd-jax study studies/table2.toml --workdir=runs/crema_d_table2 \
        --config=configs/crema_d.py --set data.data_dir=data

Published test accuracies (arXiv 2511.19887, audio and visual student): without distillation 62.4
and 66.8, FD-CMKD 64.1 and 71.0. They select the epoch and the head on the test split, as the preset
``authors_code`` does; by default, 10 % of the training clips select. Presets as in
``configs/av_digits.py``, and

    smoke     generated clips, small networks: tries the whole path in two minutes on 2 cores
"""

import ml_collections

from fdcmkd_jax.config import clips
from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = clips.paper_recipe(
        name="crema_d",
        spectrogram="fd_cmkd",
        validation=0.1,
        speaker_disjoint=False,
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
    clips.smoke(config, clips_per_class=24)
    config.data.validation = 0.25


PRESETS = {"smoke": _smoke}
