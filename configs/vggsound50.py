r"""FD-CMKD on VGGSound-50: the sound and the pictures of 50 classes of VGGSound teach each other.

From download to table, with the clips as ``ID_START.mp4`` (start in six digits) in ``video/``:

    mkdir -p downloads/VGGSound/video
    unzip datasplit.zip -d downloads/VGGSound    # from huofushuo/C2KD, vggsound/datasplit.zip
    pip install "fdcmkd-jax[prepare]"
    fdcmkd-jax data check vggsound50 --option manual_dir=downloads/VGGSound --data_dir=data
    fdcmkd-jax train --config=configs/vggsound50.py --workdir=runs/vggsound50 \
        --config.data.manual_dir=downloads/VGGSound --config.data.data_dir=data
    fdcmkd-jax study studies/paper_table1.toml --workdir=runs/vggsound50_table1 \
        --config=configs/vggsound50.py --set data.data_dir=data
    fdcmkd-jax study studies/table2.toml --workdir=runs/vggsound50_table2 \
        --config=configs/vggsound50.py --set data.data_dir=data

Published test accuracies (arXiv 2511.19887, audio and visual student): without distillation 68.9
and 44.9, FD-CMKD 70.0 and 48.1; whether on these 50 classes is not confirmed. Clips that can no
longer be downloaded are skipped and counted. Presets as in ``configs/av_digits.py``, and

    smoke     generated clips, small networks: tries the whole path in two minutes on 2 cores
"""

import ml_collections

from fdcmkd_jax.config import clips
from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = clips.paper_recipe(
        name="vggsound50",
        spectrogram="c2kd",
        validation=0.1,
        strict=False,
        num_frames=3,
        image_size=224,
        image_augment=True,
        num_masks=0,
        time_mask=100,
        frequency_mask=13,
        generated=0,
    )
    return common.apply(config, presets, PRESETS)


def _smoke(config: ml_collections.ConfigDict) -> None:
    clips.smoke(config, clips_per_class=4)
    config.data.validation = 0.25


PRESETS = {"smoke": _smoke}
