"""The dense layers."""

import jax
import numpy as np
from model_cases import K, initial_shapes, set_up

from fdcmkd_jax import models


def test_features_are_the_last_layer_before_its_relu():
    module, variables, x = set_up("mlp")
    outputs = module.apply(variables, x, train=False)
    params, stats = (jax.tree.map(np.asarray, variables[k]) for k in ("params", "batch_stats"))
    y = np.asarray(x, np.float64).reshape(len(x), -1)
    for index in range(2):
        y = np.maximum(y, 0) if index else y
        layer, norm = params[f"dense{index}"], params[f"norm{index}"]
        running = stats[f"norm{index}"]
        y = y @ layer["kernel"] + layer["bias"]
        y = (y - running["mean"]) / np.sqrt(running["var"] + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(outputs.features, y, rtol=1e-4, atol=1e-5)
    classifier = params["classifier"]
    expected = np.maximum(y, 0) @ classifier["kernel"] + classifier["bias"]
    np.testing.assert_allclose(outputs.logits, expected, rtol=1e-4, atol=1e-5)


def test_widths_are_those_of_the_layers():
    module = models.make("mlp", num_classes=K, widths=(7, 6, 5))
    params = initial_shapes(module, 1, 9)["params"]
    kernels = [params[name]["kernel"].shape for name in ("dense0", "dense1", "dense2")]
    assert kernels == [(9, 7), (7, 6), (6, 5)]
    assert params["classifier"]["kernel"].shape == (5, K)
