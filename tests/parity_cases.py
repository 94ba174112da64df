"""The same models, inputs and heads in PyTorch and in this package."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.pytorch_baseline import models as torch_models
from fdcmkd_jax import interop, models
from fdcmkd_jax.interop import catalog
from fdcmkd_jax.models.resnet import ResNet
from fdcmkd_jax.types import Outputs

K, N = 5, 4
CHANNELS = {"audio": 1, "image": 3}

# Odd sizes, so that a difference in padding or pooling would show.
SHAPES = {"resnet_tiny": {"audio": (33, 13), "image": (27, 29)}}
LARGE_SHAPES = {"audio": (35, 45), "image": (45, 35)}

BACKBONES = {
    "resnet_tiny": {"name": "resnet_tiny"},
    **{f"resnet{depth}": {"name": "resnet", "depth": depth} for depth in (18, 34, 50)},
}
# The large ResNets with an eighth of their channels: the same layers, at a fraction of the time.
NARROW_WIDTHS, NARROW_STRIDES = (8, 16, 32, 64), (1, 2, 2, 2)
NARROW_DEPTHS = {
    "narrow10": (1, 1, 1, 1),
    "narrow18": (2, 2, 2, 2),
    "narrow34": (3, 4, 6, 3),
    "narrow50": (3, 4, 6, 3),
}

# Relative to the largest element of each tensor. The order of summation differs, so errors start at
# the rounding unit (1e-16, 6e-8) and grow through up to 53 layers and back.
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}


def torch_net(backbone, modality):
    """A backbone of PyTorch as it is initialized."""
    channels = CHANNELS[modality]
    if backbone == "resnet_tiny":
        return torch_models.resnet_tiny(channels_in=channels, num_classes=K)
    if backbone in NARROW_DEPTHS:
        stages = list(zip(NARROW_WIDTHS, NARROW_STRIDES, NARROW_DEPTHS[backbone], strict=True))
        net = torch_models.ResNet(
            channels,
            NARROW_WIDTHS[0],
            stages,
            large_stem=True,
            bottleneck=backbone == "narrow50",
        )
        model = torch_models.Model(net, K)
        torch_models.initialize(model)
        return model
    depth = int(backbone.removeprefix("resnet"))
    return torch_models.resnet(depth, channels_in=channels, num_classes=K)


def torch_model(backbone, modality, seed, precision):
    """A backbone of PyTorch with statistics and biases unlike zero and one."""
    torch.manual_seed(seed)
    model = torch_net(backbone, modality)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.to(getattr(torch, precision))


def our_model(backbone, precision, axis_name=None):
    """The same backbone in JAX."""
    if backbone in NARROW_DEPTHS:
        return ResNet(
            num_classes=K,
            widths=NARROW_WIDTHS,
            strides=NARROW_STRIDES,
            depths=NARROW_DEPTHS[backbone],
            bottleneck=backbone == "narrow50",
            large_stem=True,
            stem_width=NARROW_WIDTHS[0],
            axis_name=axis_name,
            dtype=jnp.dtype(precision),
        )
    options = {**BACKBONES[backbone], "dtype": precision}
    model = models.make(**options, num_classes=K, axis_name=axis_name)
    # XLA's float64 convolutions on a CPU are plain loops; as matrix products they are quick.
    return model.clone(patches=True) if precision == "float64" else model


def as_numpy(module):
    """The tensors of a PyTorch module by name."""
    return {key: value.detach().numpy().copy() for key, value in module.state_dict().items()}


def our_variables(model, source, modality):
    """The variables of a PyTorch model for ours."""
    like = catalog.abstract_variables(model, CHANNELS[modality])
    variables = interop.from_state_dict(as_numpy(source), like, naming="reproduction")
    return jax.tree.map(jnp.asarray, variables)


def inputs(backbone, modality, precision, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    shape = SHAPES.get(backbone, LARGE_SHAPES)[modality]
    x = rng.normal(size=(N, *shape, CHANNELS[modality]))
    if labels is not None:  # Something to learn.
        x += np.random.default_rng(99).normal(size=(K, *x.shape[1:]))[labels]
    return x.astype(precision)


def assert_close(ours, theirs, tolerance, name=""):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype, name
    np.testing.assert_allclose(
        ours, theirs, rtol=0, atol=tolerance * max(np.abs(theirs).max(), 1e-12), err_msg=name
    )


def outputs_of(logits, features):
    return Outputs(logits=jnp.asarray(logits), features=jnp.asarray(features))


def our_heads(heads):
    return {
        "adapter": {},
        **{
            group: {
                band: {
                    "kernel": jnp.asarray(dense.weight.detach().numpy().T),
                    "bias": jnp.asarray(dense.bias.detach().numpy()),
                }
                for band, dense in bands.items()
            }
            for group, bands in heads.groups.items()
        },
    }


def at_torch_name(params, key):
    """The leaf of our heads that PyTorch calls ``groups.align.low.weight``, in its layout."""
    _, group, band, kind = key.split(".")
    leaf = params[group][band]["kernel" if kind == "weight" else "bias"]
    return leaf.T if kind == "weight" else leaf
