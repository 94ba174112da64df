"""The recipe around the step equals that of the PyTorch baseline: learning rate and start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from builders import digits_config, init_fn
from parity_cases import BACKBONES, K, as_numpy, at_torch_name

from benchmarks.pytorch_baseline import losses as torch_losses
from benchmarks.pytorch_baseline import models as torch_models
from benchmarks.pytorch_baseline import train as baseline
from fdcmkd_jax import interop, methods, models
from fdcmkd_jax.config import resolve
from fdcmkd_jax.config.build import make_optimizers
from fdcmkd_jax.interop import catalog
from fdcmkd_jax.types import Outputs

STEPS_PER_EPOCH = 3


@pytest.mark.parametrize(("preset", "peak"), [("", 0.1), ("paper", 0.1), ("authors_code", 0.01)])
def test_learning_rate_of_every_epoch(preset, peak):
    config = digits_config(preset)
    recipe = baseline.Recipe(learning_rate=config.optim.learning_rate)
    assert recipe.learning_rate == peak
    rate = make_optimizers(resolve(config), num_epochs=100, steps_per_epoch=STEPS_PER_EPOCH)[
        "audio"
    ].schedule
    for epoch in range(100):
        for step in range(STEPS_PER_EPOCH):
            actual = float(rate(epoch * STEPS_PER_EPOCH + step))
            assert actual == pytest.approx(recipe.rate(epoch), rel=1e-5)


def test_initial_weights_are_drawn_from_the_same_distributions():
    """Kaiming-normal over the fan-out, Xavier-normal: by a two-sample test on every layer."""
    theirs = torch_models.resnet(18, channels_in=3, num_classes=K)
    torch.manual_seed(0)
    torch_models.initialize(theirs)
    model = models.make(**BACKBONES["resnet18"], num_classes=K)
    ours = interop.to_state_dict(catalog.initial_variables(model, 3, seed=0), naming="reproduction")
    compared = 0
    for key, value in as_numpy(theirs).items():
        if value.ndim > 1:
            samples = (x.ravel()[:20000] for x in (ours[key], value))
            assert scipy.stats.ks_2samp(*samples).pvalue > 1e-4, key
            compared += 1
        else:
            np.testing.assert_array_equal(ours[key], value, err_msg=key)
    assert compared == 21


def test_initial_heads_are_drawn_from_the_same_distribution():
    torch.manual_seed(0)
    heads = torch_losses.Heads(512, 64, auxiliary=True)
    torch_models.initialize(heads)
    outputs = Outputs(logits=jnp.zeros((1, 64)), features=jnp.zeros((1, 512)))
    params = init_fn(methods.make("fd_cmkd"))(jax.random.key(0), outputs, outputs, 64)
    for key, value in as_numpy(heads).items():
        ours = np.asarray(at_torch_name(params, key))
        assert ours.shape == value.shape
        if value.ndim > 1:
            assert scipy.stats.ks_2samp(ours.ravel(), value.ravel()).pvalue > 1e-4, key
        else:
            np.testing.assert_array_equal(ours, value)
