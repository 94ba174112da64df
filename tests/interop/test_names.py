"""Names and layouts of PyTorch state dicts."""

import jax
import numpy as np
import pytest
import transformers
from interop_runs import TINY, K, arrays, like

from benchmarks.pytorch_baseline import models as torch_models
from fdcmkd_jax import interop, models
from fdcmkd_jax.interop import catalog, layouts
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


@pytest.mark.parametrize("naming", ["torchvision", "reproduction", "huggingface"])
def test_other_networks_have_no_names(naming):
    message = f"params/Dense_0/kernel has no name in PyTorch under the naming {naming}"
    with pytest.raises(ConfigError, match=message):
        interop.to_state_dict({"params": {"Dense_0": {"kernel": np.zeros((2, 2))}}}, naming=naming)


def zeros(model, channels):
    shapes = catalog.abstract_variables(model, channels)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def test_keys_are_those_of_torchvisions_mobilenet_v2():
    # A sample, from the layout documented by pytorch/vision.
    variables = zeros(models.make("mobilenet_v2", num_classes=1000), 3)
    state = interop.to_state_dict(variables, naming="torchvision")
    assert len(state) == 314
    shapes = {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.running_var": (16,),
        "features.2.conv.0.1.bias": (96,),
        "features.17.conv.1.0.weight": (960, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.17.conv.3.num_batches_tracked": (),
        "features.18.1.running_mean": (1280,),
        "classifier.1.weight": (1000, 1280),
    }
    assert {key: state[key].shape for key in shapes} == shapes


def test_keys_are_those_of_transformers_bert():
    options = {"width": 32, "depth": 2, "heads": 2, "vocab_size": 40, "max_length": 8}
    module = models.make("bert", num_classes=K, **options)
    ours = interop.to_state_dict(zeros(module, 0), naming="huggingface")
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=8,
        num_labels=K,
    )
    theirs = arrays(transformers.BertForSequenceClassification(config))
    assert interop.guess_naming(interop.renamed(theirs)) == "huggingface"
    shapes = {key: value.shape for key, value in interop.renamed(theirs).items()}
    assert {key: value.shape for key, value in ours.items()} == shapes


@pytest.mark.parametrize(
    "names",
    [
        {  # MobileNetV2 with each block's layers in one list; the first has no expansion.
            "features.0.0.weight": "features.0.0.weight",
            "features.1.conv.0.weight": "features.1.conv.0.0.weight",
            "features.1.conv.1.bias": "features.1.conv.0.1.bias",
            "features.1.conv.3.weight": "features.1.conv.1.weight",
            "features.1.conv.4.running_mean": "features.1.conv.2.running_mean",
            "features.2.conv.0.weight": "features.2.conv.0.0.weight",
            "features.2.conv.3.weight": "features.2.conv.1.0.weight",
            "features.2.conv.4.weight": "features.2.conv.1.1.weight",
            "features.2.conv.6.weight": "features.2.conv.2.weight",
            "features.2.conv.7.num_batches_tracked": "features.2.conv.3.num_batches_tracked",
            "classifier.weight": "classifier.1.weight",
        },
        {
            "bert.encoder.layer.1.output.LayerNorm.beta": "encoder.layer.1.output.LayerNorm.bias",
            "cls.predictions.bias": "cls.predictions.bias",
        },
    ],
)
def test_older_names_become_the_present_ones_which_stay(names):
    assert layouts.modern_names(names) == names
    assert list(layouts.modern_names(names.values())) == list(names.values())
    assert list(layouts.modern_names(names.values()).values()) == list(names.values())


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_a_backbone_is_recognized(depth):
    model = torch_models.resnet(depth, channels_in=2, num_classes=4)
    actual = interop.identify(arrays(model), naming="reproduction")
    assert actual == {"name": "resnet", "depth": depth}
