"""Two views of scikit-learn's digits, with data, models and a method from ``views.py``.

    fdcmkd-jax train --config=examples/two_view_digits/config.py --workdir=runs/two_view_digits

Presets follow a colon: those of every config (``kd``, ``none``, ``mismatched``, ...), ``fd_cmkd``,
and ``nnx`` for a student that is a Flax NNX module.
"""

import ml_collections

from fdcmkd_jax.config import presets as common


def get_config(presets: str = "") -> ml_collections.ConfigDict:
    """Returns the config, changed by each of the comma-separated presets in turn."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = dict(name="views:digits", data_dir="")
    config.input = dict(batch_size=64)
    config.pairing = dict(kind="true")
    config.task = dict(name="classification")
    config.directions = ("left->right",)
    config.models = dict(left=dict(name="views:linen_net"), right=dict(name="views:function_net"))
    config.teacher = dict(num_epochs=20, checkpoints=dict(left=""))
    config.method = dict(name="views:log_feature", scale=1.0)
    config.weights = dict(task=1.0, log_feature=1.0)
    config.optim = dict(name="sgd", learning_rate=0.05)
    config.train = dict(num_epochs=20)
    config.evaluate = dict(every_epochs=5, batch_size=100)
    config.checkpoint = dict(every_steps=0)
    return common.apply(config, presets, {"nnx": _nnx})


def _nnx(config: ml_collections.ConfigDict) -> None:
    config.models.right = ml_collections.ConfigDict({"name": "views:nnx_net"})
