"""One pass through a model equals PyTorch's, with the same parameters and inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from parity_cases import (
    TOLERANCE,
    K,
    N,
    as_numpy,
    assert_close,
    inputs,
    our_model,
    our_variables,
    torch_model,
)

from benchmarks.pytorch_baseline import models as torch_models
from fdcmkd_jax import interop, losses, models
from fdcmkd_jax.interop import catalog

# A ReLU whose input is within rounding of zero falls on different sides, and part of the gradient
# switches on or off: in float32 that happens in any deep network, in float64 hardly ever. Single
# elements say little, so gradients are compared by each tensor's norm.
GRADIENT_TOLERANCE = {"float64": 1e-9, "float32": 5e-2}


# Full widths in float32; float64 compares the arithmetic, for which an eighth of them serves.
CASES = {
    "float32": [
        ("resnet_tiny", "audio"),
        ("resnet_tiny", "image"),
        ("resnet18", "audio"),
        ("resnet34", "image"),
        ("resnet50", "image"),
    ],
    "float64": [
        ("resnet_tiny", "audio"),
        ("resnet_tiny", "image"),
        ("narrow18", "audio"),
        ("narrow50", "image"),
    ],
}


@pytest.mark.parametrize(
    ("precision", "backbone", "modality"),
    [(precision, *case) for precision, cases in CASES.items() for case in cases],
    indirect=["precision"],
)
def test_one_pass_in_eval_and_one_in_train_mode_with_statistics_and_every_gradient(
    backbone, modality, precision
):
    tolerance = TOLERANCE[precision]
    theirs = torch_model(backbone, modality, 0, precision)
    ours = our_model(backbone, precision)
    variables = our_variables(ours, theirs, modality)
    labels = np.random.default_rng(1).integers(0, K, N)
    x = inputs(backbone, modality, precision)

    # Compiled as one program: for the deep networks compiling is most of the time.
    @jax.jit
    def run(variables, x):
        def loss(params):
            outputs, updates = ours.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            loss = losses.cross_entropy(outputs.logits, jnp.asarray(labels))
            return loss.mean(), (outputs, updates)

        evaluated = ours.apply(variables, x, train=False)
        return evaluated, jax.value_and_grad(loss, has_aux=True)(variables["params"])

    evaluated, ((value, (trained, updates)), gradients) = run(variables, x)

    def forward(train):
        logits, features = theirs.train(train)(torch_models.images_first(torch.from_numpy(x)))
        return logits, features.detach().numpy()

    logits, features = forward(train=False)
    assert features.min() < 0  # before the ReLU
    assert_close(evaluated.logits, logits.detach().numpy(), tolerance, "eval logits")
    assert_close(evaluated.features, features, tolerance, "eval features")

    logits, features = forward(train=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()
    assert_close(trained.logits, logits.detach().numpy(), tolerance, "train logits")
    assert_close(trained.features, features, tolerance, "train features")
    assert_close(value, loss.detach().numpy(), tolerance, "loss")
    statistics = {"params": variables["params"], "batch_stats": updates["batch_stats"]}
    converted = interop.to_state_dict(statistics, naming="reproduction", step=1)
    for key, value in as_numpy(theirs).items():
        assert_close(converted[key], value, tolerance, key)
    converted = interop.to_state_dict({"params": gradients}, naming="reproduction")
    for key, parameter in theirs.named_parameters():
        expected = parameter.grad.numpy()
        error = np.linalg.norm(converted[key] - expected) / np.linalg.norm(expected)
        assert error < GRADIENT_TOLERANCE[precision], f"gradient of {key}"


def test_eval_logits_of_a_resnet18_are_pytorchs_to_1e_5():
    """In float32, absolutely, at the input size that it is used at."""
    theirs = torch_models.resnet(18, channels_in=3, num_classes=6).eval()
    model = models.make("resnet", depth=18, num_classes=6)
    like = catalog.abstract_variables(model, 3)
    variables = interop.from_state_dict(as_numpy(theirs), like, naming="reproduction")
    x = np.random.default_rng(0).normal(size=(2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        logits, _ = theirs(torch_models.images_first(torch.from_numpy(x)))
    ours = jax.jit(functools.partial(model.apply, train=False))(variables, x)
    np.testing.assert_allclose(ours.logits, logits.numpy(), rtol=0, atol=1e-5)
