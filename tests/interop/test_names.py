"""Names and layouts of PyTorch state dicts."""

import jax
import numpy as np
import pytest
from interop_runs import TINY, K, arrays, like

from benchmarks.pytorch_baseline import models as torch_models
from fdcmkd_jax import interop, models
from fdcmkd_jax.interop import catalog
from fdcmkd_jax.registry import ConfigError


@pytest.mark.parametrize("naming", ["reproduction", "torchvision"])
def test_a_round_trip_keeps_every_bit_and_the_batch_count(tiny, naming):
    state = arrays(tiny)
    if naming == "torchvision":
        state = {
            key.removeprefix("net.").replace("classifier.", "fc."): value
            for key, value in state.items()
        }
    assert interop.guess_naming(state) == naming
    variables = interop.from_state_dict(state, like(), naming=naming)
    back = interop.to_state_dict(variables, naming=naming, step=2)
    assert sorted(back) == sorted(state)
    for key, value in state.items():
        np.testing.assert_array_equal(back[key], value, strict=True, err_msg=key)


def test_keys_are_those_of_torchvisions_resnet50():
    # A sample, from the layout documented by pytorch/vision.
    model = models.make("resnet", depth=50, num_classes=1000)
    shapes = catalog.abstract_variables(model, 3)
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    keys = set(interop.to_state_dict(variables, naming="torchvision"))
    assert len(keys) == 320
    assert {
        "conv1.weight",
        "bn1.num_batches_tracked",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.1.running_var",
        "layer3.5.bn2.bias",
        "layer4.2.conv3.weight",
        "fc.bias",
    } <= keys


def test_a_report_names_every_difference(tiny):
    state = arrays(tiny)
    del state["net.bn1.bias"]
    state["net.extra.weight"] = np.zeros(3, np.float32)
    state["classifier.weight"] = np.zeros((7, 128), np.float32)
    actual = interop.compare(state, like(), naming="reproduction")
    assert actual.missing == ("net.bn1.bias",)
    assert actual.unexpected == ("net.extra.weight",)
    assert actual.misshapen == {"classifier.weight": ((7, 128), (K, 128))}
    with pytest.raises(interop.MismatchError) as raised:
        interop.from_state_dict(state, like(), naming="reproduction")
    for line in str(actual).splitlines():
        assert line in str(raised.value)


def test_merging_keeps_the_start_where_the_file_says_nothing(tiny):
    state = arrays(tiny)
    state["classifier.weight"] = np.zeros((7, 128), np.float32)
    start = catalog.initial_variables(models.make(**TINY, num_classes=K), 1, seed=1)
    merged = interop.merge(state, start, naming="reproduction")
    np.testing.assert_array_equal(merged["params"]["fc"]["kernel"], start["params"]["fc"]["kernel"])
    actual = interop.to_state_dict(merged, naming="reproduction")
    np.testing.assert_array_equal(actual["net.conv1.weight"], state["net.conv1.weight"])


def test_other_networks_have_no_names():
    with pytest.raises(ConfigError, match="only ResNets have PyTorch names; params/Dense_0/kernel"):
        interop.to_state_dict(
            {"params": {"Dense_0": {"kernel": np.zeros((2, 2))}}}, naming="torchvision"
        )


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_a_backbone_is_recognized(depth):
    model = torch_models.resnet(depth, channels_in=2, num_classes=4)
    actual = interop.identify(arrays(model), naming="reproduction")
    assert actual == {"name": "resnet", "depth": depth}
