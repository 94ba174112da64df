"""Import of pretrained backbones."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from interop_runs import K, refusal, run
from safetensors.numpy import save_file
from torch_mobilenet import MobileNetV2
from transformers import BertConfig, BertForPreTraining, BertModel

from fdcmkd_jax import interop, models
from fdcmkd_jax.interop import catalog, imports
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.checkpoint import load_variables
from fdcmkd_jax.training.description import ModelDescription

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}
OPTIONS = {
    "name": "bert",
    "vocab_size": 40,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "mlp_width": 24,
    "max_length": 12,
}


@pytest.fixture(scope="module")
def pretrained():
    """BERT with its heads of pretraining."""
    torch.manual_seed(0)
    return BertForPreTraining(BertConfig(**SIZES)).eval()


@pytest.fixture
def folder(pretrained, tmp_path):
    """A folder as BERT-base's own checkpoint is: prefix, gamma and beta, heads, position ids."""
    state = {key: value.numpy() for key, value in pretrained.state_dict().items()}
    older = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): np.ascontiguousarray(value)
        for key, value in state.items()
    }
    older["bert.embeddings.position_ids"] = np.arange(12)[None]
    save_file(older, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **SIZES}))
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_a_bert_with_older_names_and_heads_is_imported_from_its_folder(pretrained, folder, capsys):
    run("import", folder, "--to", folder / "out", "--num-classes", K, "--modality", "text")
    assert "cls.seq_relationship.weight: left out" in capsys.readouterr().out
    actual = ModelDescription.read(folder / "out")
    assert actual == ModelDescription("text", OPTIONS, K, (None,))
    assert (folder / "out" / "tokenizer.json").read_text() == "{}"
    like = catalog.abstract_variables(models.make(**OPTIONS, num_classes=K), 0)
    variables, step = load_variables(folder / "out", like)
    assert (variables["batch_stats"], step) == ({}, 0)
    report = (folder / "out" / "import.txt").read_text().splitlines()
    fates = {line.split()[-1]: line.rsplit(maxsplit=1)[0] for line in report}
    assert fates["embeddings.LayerNorm.weight"] == "loaded"
    assert fates["classifier.weight"] == "drawn: missing"
    run("inspect", folder / "out")
    run("export", folder / "out", "--to", folder / "again.safetensors")
    again = interop.read(folder / "again.safetensors")
    state = interop.renamed({k: v.numpy() for k, v in pretrained.state_dict().items()})
    body = {key: value for key, value in state.items() if not key.startswith("cls.")}
    assert set(again) == {*body, "classifier.weight", "classifier.bias"}
    for key, value in body.items():
        np.testing.assert_array_equal(again[key], value, strict=True, err_msg=key)


def test_both_namings_of_a_bert_give_the_same_variables(pretrained, folder):
    older = imports.convert(imports.find_weights(folder), imports.Request(num_classes=K))
    model = BertModel(BertConfig(**SIZES))
    model.load_state_dict(pretrained.bert.state_dict())
    plain = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    save_file(plain, folder / "model.safetensors")
    newer = imports.convert(imports.find_weights(folder), imports.Request(num_classes=K))
    jax.tree.map(np.testing.assert_array_equal, older.variables, newer.variables)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "roberta", "model_type is 'roberta'; only 'bert' is supported"),
        ("hidden_act", "relu", "hidden_act is 'relu'; only 'gelu' is supported"),
        ("pad_token_id", 1, "pad_token_id is 1; only 0 is supported"),
    ],
)
def test_a_variant_that_would_compute_something_else_is_refused(folder, key, value, message):
    (folder / "config.json").write_text(json.dumps({**SIZES, key: value}))
    with pytest.raises(ConfigError, match=message):
        imports.find_weights(folder)


def test_mistakes_in_a_folder_are_answered_in_one_line(folder, capsys):
    to = folder / "out"
    assert "give the number of classes" in refusal(capsys, "import", folder, "--to", to)
    alone = folder / "alone.safetensors"
    shutil.copyfile(folder / "model.safetensors", alone)
    message = "A BERT is imported from the folder of its config.json"
    assert message in refusal(capsys, "import", alone, "--to", to, "--num-classes", K)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 16}))
    message = "lacks 'num_hidden_layers'; expected the config.json of a BERT"
    assert message in refusal(capsys, "import", folder, "--to", to, "--num-classes", K)
    (folder / "config.json").unlink()
    assert "holds no config.json" in refusal(capsys, "import", folder, "--to", to)
    assert "an option is KEY=VALUE, got 'depth'" in refusal(
        capsys, "import", alone, "--to", to, "--option", "depth"
    )
    assert not to.exists()


def test_a_missing_layer_of_a_backbone_is_no_missing_classifier(folder):
    weights = imports.find_weights(folder)
    state = {key: x for key, x in weights.state.items() if "layer.1.output.dense" not in key}
    request = imports.Request(num_classes=K)
    with pytest.raises(ConfigError, match=r"missing: encoder.layer.1.output.dense.weight"):
        imports.convert(weights._replace(state=state), request)
    partial = imports.convert(weights._replace(state=state), request._replace(partial=True))
    assert partial.fates["encoder.layer.1.output.dense.weight"] == "drawn: missing"


@pytest.mark.parametrize(("reduce", "factor"), [("sum", 1.0), ("mean", 1 / 3)])
def test_a_first_layer_for_one_channel_reads_gray_pictures_as_rgb(reduce, factor):
    torch.manual_seed(1)
    state = {key: x.numpy() for key, x in MobileNetV2(3, 7).state_dict().items()}
    weights = imports.Weights(interop.renamed(state))
    request = imports.Request(num_classes=K, backbone=True, one_channel=reduce)
    imported = imports.convert(weights, request)
    assert (imported.channels, imported.num_classes) == (1, K)
    assert imported.fates["features.0.0.weight"] == f"{reduce} over 3 channels"
    expected = "drawn: [7, 1280] in the file, expected [3, 1280]"
    assert imported.fates["classifier.1.weight"] == expected
    # A gray picture in three channels equals one channel, summed, or averaged and scaled.
    gray = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)
    stem = imported.variables["params"]["stem_conv"]["kernel"]
    whole = np.moveaxis(state["features.0.0.weight"], (0, 1), (3, 2))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    rgb = convolve(jnp.asarray(np.repeat(gray, 3, axis=-1)), jnp.asarray(whole))
    ours = convolve(jnp.asarray(gray), jnp.asarray(stem))
    np.testing.assert_allclose(ours, rgb * factor, rtol=0, atol=1e-5)


def test_a_width_is_identified():
    shapes = catalog.abstract_variables(models.make("mobilenet_v2", num_classes=4, width=0.5), 1)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    state = interop.to_state_dict(variables, naming="torchvision")
    actual = interop.identify(state, naming="torchvision")
    assert actual == {"name": "mobilenet_v2", "width": 0.5}
