"""DeepLabV3+, beside PyTorch's on the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from model_cases import K, initial_shapes
from torch_deeplab import DeepLab

from fdcmkd_jax import interop, models
from fdcmkd_jax.interop import catalog, imports
from fdcmkd_jax.registry import ConfigError

WIDTH = 16


def make(backbone, **options):
    options = {"backbone": backbone, "width": WIDTH, "dropout": 0.0, **options}
    return models.make("deeplab_v3_plus", num_classes=K, **options)


def pytorch(backbone, stride, channels=2):
    """A network with statistics as in the midst of training."""
    torch.manual_seed(0)
    model = DeepLab(backbone, channels, K, stride, WIDTH).double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            module.momentum = 0.1 if module in list(model.classifier.modules()) else 0.01
    return model


def state_of(model):
    return interop.renamed({key: value.numpy().copy() for key, value in model.state_dict().items()})


# In float64, because few positions a channel amplify rounding in training mode.
@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2"])
def test_it_agrees_with_pytorch_in_evaluation_and_training(backbone, stride):
    x = np.random.default_rng(0).normal(size=(2, 45, 38, 2))
    theirs = pytorch(backbone, stride)
    level = "decoder" if stride == 16 else "aspp"
    with jax.enable_x64(True):
        module = make(backbone, output_stride=stride, features=level, dtype="float64")
        shapes = catalog.abstract_variables(module, 2)
        variables = interop.from_state_dict(state_of(theirs), shapes, naming="torchvision")

        @jax.jit
        def run(variables, x):
            apply = functools.partial(module.apply, mutable=["batch_stats"])
            evaluated, _ = apply(variables, x, train=False)
            return evaluated, *apply(variables, x, train=True)

        evaluated, trained, updates = run(variables, x)
        for outputs, training in ((evaluated, False), (trained, True)):
            with torch.no_grad():
                inputs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
                logits, decoder, aspp = theirs.train(training)(inputs)
            features = decoder if level == "decoder" else aspp
            for ours, expected in ((outputs.logits, logits), (outputs.features, features)):
                expected = expected.numpy().transpose(0, 2, 3, 1)
                np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-7)
        after = state_of(theirs)
        ours = interop.to_state_dict({**variables, **updates}, naming="torchvision")
        assert set(ours) == set(after)
        for key in ours:
            if "running" in key:
                np.testing.assert_allclose(ours[key], after[key], rtol=1e-9, err_msg=key)


def test_float32_agrees_with_pytorch_to_1e_5():
    x = np.random.default_rng(0).normal(size=(2, 45, 38, 2))
    theirs = pytorch("resnet18", 16).eval()
    module = make("resnet18")
    shapes = catalog.abstract_variables(module, 2)
    variables = interop.from_state_dict(state_of(theirs), shapes, naming="torchvision")
    apply = jax.jit(functools.partial(module.apply, train=False))
    ours = apply(jax.tree.map(jnp.float32, variables), x.astype(np.float32))
    with torch.no_grad():
        logits = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))[0].numpy()
    scale = np.abs(logits).max()
    np.testing.assert_allclose(
        ours.logits / scale, logits.transpose(0, 2, 3, 1) / scale, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("backbone", "stride", "features", "shape"),
    [
        ("resnet18", 16, "decoder", (16, 24)),
        ("resnet101", 8, "aspp", (8, 12)),
        ("mobilenet_v2", 16, "aspp", (4, 6)),
        ("mobilenet_v2", 8, "decoder", (16, 24)),
        ("resnet_tiny", 8, "aspp", (8, 12)),
    ],
)
def test_logits_have_the_inputs_size_and_features_their_levels(backbone, stride, features, shape):
    module = models.make(
        *("deeplab_v3_plus",),
        **{"num_classes": K, "backbone": backbone, "output_stride": stride, "features": features},
    )
    variables = initial_shapes(module, 1, 64, 96, 3)
    outputs = jax.eval_shape(
        functools.partial(module.apply, train=False), variables, jnp.zeros((1, 64, 96, 3))
    )
    assert outputs.logits.shape == (1, 64, 96, K)
    assert outputs.features.shape == (1, *shape, 256)
    assert max(64 // each.shape[1] for each in outputs.maps.values()) == stride


@pytest.mark.parametrize(
    ("backbone", "millions"), [("resnet50", 39.76), ("resnet101", 58.75), ("mobilenet_v2", 5.23)]
)
def test_it_has_as_many_parameters_as_counted(backbone, millions):
    module = models.make("deeplab_v3_plus", num_classes=21, backbone=backbone)
    params = initial_shapes(module, 1, 32, 32, 3)["params"]
    assert sorted(params) == ["backbone", "classifier"]  # The parts optimizers tell apart.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6 == pytest.approx(
        millions, abs=0.01
    )


def test_the_backbones_statistics_move_slowly_and_the_heads_as_usual():
    module = make("mobilenet_v2", backbone_width=0.35)
    shapes = initial_shapes(module, 2, 32, 32, 1)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    stats = jax.tree.map(jnp.ones_like, variables["batch_stats"])
    apply = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    variables = {"params": variables["params"], "batch_stats": stats}
    after = jax.jit(apply)(variables, jnp.ones((2, 32, 32, 1)))[1]["batch_stats"]
    np.testing.assert_allclose(after["backbone"]["stem_bn"]["mean"], 0.99, rtol=1e-6)
    np.testing.assert_allclose(after["classifier"]["decoder_bn"]["mean"], 0.9, rtol=1e-6)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_a_backbone_alone_starts_a_network_of_one_channel(backbone):
    plain = {"resnet18": {"name": "resnet"}, "mobilenet_v2": {"name": "mobilenet_v2"}}[backbone]
    shapes = catalog.abstract_variables(models.make(**plain, num_classes=7), 3)
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), shapes)
    state = interop.to_state_dict(variables, naming="torchvision")
    request = imports.Request(
        options={"name": "deeplab_v3_plus", "backbone": backbone, "width": WIDTH},
        num_classes=K,
        one_channel="sum",
    )
    imported = imports.convert(imports.Weights(state), request)
    fates = set(imported.fates.values())
    assert fates == {"loaded", "left out", "drawn: missing", "sum over 3 channels"}
    assert all(
        key.startswith("classifier.")
        for key, fate in imported.fates.items()
        if fate.startswith("drawn")
    )
    stem = {"resnet18": "conv1", "mobilenet_v2": "stem_conv"}[backbone]
    kernel = imported.variables["params"]["backbone"][stem]["kernel"]
    whole = variables["params"][stem]["kernel"]
    np.testing.assert_allclose(kernel, whole.sum(2, keepdims=True), rtol=1e-6)


def test_a_whole_network_is_identified_and_its_classes_drawn_anew():
    state = state_of(pytorch("resnet18", 16, channels=3))
    weights = imports.Weights(state)
    request = imports.Request(options={"width": WIDTH, "name": "deeplab_v3_plus"}, num_classes=9)
    with pytest.raises(ConfigError, match=r"misshapen: classifier\.classifier\.3\.weight"):
        imports.convert(
            weights, request._replace(options={**request.options, "backbone": "resnet18"})
        )
    shapes = catalog.abstract_variables(
        models.make("deeplab_v3_plus", num_classes=K, backbone="mobilenet_v2"), 3
    )
    full = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    state = interop.to_state_dict(full, naming="torchvision")
    assert "backbone.high_level_features.17.conv.2.weight" in state
    imported = imports.convert(
        imports.Weights(state), imports.Request(num_classes=9, backbone=True)
    )
    assert imported.options == {"name": "deeplab_v3_plus", "backbone": "mobilenet_v2"}
    drawn = [key for key, fate in imported.fates.items() if fate.startswith("drawn")]
    assert sorted(drawn) == ["classifier.classifier.3.bias", "classifier.classifier.3.weight"]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet34"}, "backbone must be .*, got 'resnet34'"),
        ({"output_stride": 32}, "output_stride must be 8 or 16, got 32"),
        ({"features": "last"}, "features must be .*, got 'last'"),
        ({"width": 2}, "width must be at least 4, .* got 2, 0.1 and 0.99"),
        ({"backbone_width": 0.5}, "backbone_width must be positive, and 1 for a ResNet, got 0.5"),
    ],
)
def test_a_bad_value_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        models.make("deeplab_v3_plus", num_classes=K, **options)
