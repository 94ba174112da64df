"""The command line of interop."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from builders import toy_net
from interop_runs import TINY, K, arrays, like, refusal, run

from fdcmkd_jax import interop
from fdcmkd_jax.training.checkpoint import Checkpoints, load_variables
from fdcmkd_jax.training.description import ModelDescription


@pytest.fixture
def saved(tiny, tmp_path):
    torch.save(tiny.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_import_makes_a_folder_that_serves_as_a_teacher(tiny, saved, tmp_path, capsys):
    run("import", saved, "--to", tmp_path / "model", "--modality", "image")
    assert "resnet_tiny" in capsys.readouterr().out
    variables, step = load_variables(tmp_path / "model", like())
    assert step == 2
    actual = ModelDescription.read(tmp_path / "model")
    assert actual == ModelDescription("image", TINY, K, (None, None, 1))
    back = interop.to_state_dict(variables, naming="reproduction", step=step)
    for key, value in arrays(tiny).items():
        np.testing.assert_array_equal(back[key], value, strict=True)


def test_imported_and_exported_again_it_is_the_same_file(tiny, saved, tmp_path, capsys):
    run("import", saved, "--to", tmp_path / "model")
    out = tmp_path / "out" / "again.safetensors"
    run("export", tmp_path / "model", "--to", out, "--naming", "reproduction")
    for key, value in interop.read(out).items():
        np.testing.assert_array_equal(value, arrays(tiny)[key], strict=True)
    assert len(interop.read(out)) == len(arrays(tiny))
    run("inspect", out)
    run("inspect", tmp_path / "model")
    text = capsys.readouterr().out
    assert text.count("{'name': 'resnet_tiny'}") == 3
    assert "layer4.0.downsample.0.weight" in text
    parameters = sum(p.numel() for p in tiny.parameters())
    assert text.count(f"{parameters:,} parameters") == 2


def test_partial_import_draws_what_does_not_fit(saved, tmp_path, capsys):
    run("import", saved, "--to", tmp_path / "model", "--partial", "--num-classes", 9,
        "--model", "resnet_tiny")  # fmt: skip
    line = "classifier.weight: drawn: [3, 128] in the file, expected [9, 128]"
    assert line in capsys.readouterr().out
    variables, _ = load_variables(tmp_path / "model", like(num_classes=9))
    assert variables["params"]["fc"]["kernel"].std() > 0


def test_mistakes_are_answered_in_one_line(tiny, saved, tmp_path, capsys):
    to = tmp_path / "model"
    nested = tmp_path / "nested.pt"
    torch.save({"epoch": 3, "model": tiny.state_dict()}, nested)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a tensor")
    text = tmp_path / "weights.txt"
    text.write_text("hello")
    empty = tmp_path / "empty.pt"
    torch.save([1, 2], empty)
    strange = tmp_path / "strange.pt"
    torch.save({"weight": torch.zeros(2)}, strange)
    holds = functools.partial(refusal, capsys)
    assert "there is no file" in holds("import", tmp_path / "none.pt", "--to", to)
    assert "must end in .pt, .pth, .safetensors" in holds("import", text, "--to", to)
    assert "not a readable safetensors file" in holds("import", damaged, "--to", to)
    assert "holds no state dict but list" in holds("import", empty, "--to", to)
    assert "choose the entry that is a state dict with --entry: model." in holds(
        "import", nested, "--to", to
    )
    assert "Did you mean 'model'?" in holds("import", nested, "--to", to, "--entry", "modle")
    assert "conv1.weight is missing" in holds("import", strange, "--to", to)
    assert "missing: net.layer2.0.downsample.0.weight" not in holds(
        "import", saved, "--to", to, "--model", "resnet_tinny"
    )
    listed = holds("import", saved, "--to", to, "--model", "resnet", "--depth", 18)
    assert "missing: net.layer1.1.conv1.weight" in listed
    assert "unexpected: net.layer5.0.conv1.weight" in listed
    assert "misshapen: net.conv1.weight is [16, 1, 3, 3], expected [64, 1, 7, 7]" in listed
    assert "no model.json in" in holds("export", tmp_path, "--to", tmp_path / "x.pt")
    assert not to.exists()
    run("import", nested, "--to", to, "--entry", "model")
    assert "holds a model already" in holds("import", saved, "--to", to)
    assert "must end in" in holds("export", to, "--to", tmp_path / "x.onnx")
    assert "exists; choose another --to" in holds("export", to, "--to", saved)
    assert "give --input-shape=H,W,C" in holds("export", to, "--to", tmp_path / "x.stablehlo")


def test_help_and_a_mistake_from_a_shell(tmp_path):
    shell = functools.partial(
        subprocess.run, capture_output=True, text=True, check=False, timeout=120
    )
    module = [sys.executable, "-m", "fdcmkd_jax.interop"]
    helped = shell([*module, "--help"])
    assert helped.returncode == 0
    assert "net.conv1.weight" in helped.stdout
    wrong = shell([*module, "inspect", str(tmp_path / "none.pt")])
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_a_model_outside_the_package_is_run_only_if_the_user_names_it(tmp_path, capsys):
    model, name = toy_net(K), "builders:toy_net"
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 2)), train=False)
    variables = {part: variables[part] for part in ("params", "batch_stats")}
    folder = tmp_path / "model"
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save_variables(3, jax.tree.map(np.asarray, variables))
    ModelDescription("image", {"name": name}, K, (8, 8, 2)).write(folder)
    target = tmp_path / "model.safetensors"
    assert f"pass --model={name}" in refusal(capsys, "export", folder, "--to", target)
    assert not target.exists()
    run("export", folder, "--to", target, "--model", name)
    assert target.is_file()


def test_a_preprocessing_outside_the_package_needs_an_input_shape(saved, tmp_path, capsys):
    folder = tmp_path / "model"
    run("import", saved, "--to", folder, "--modality", "image")
    description = ModelDescription.read(folder)
    record = {"data": "os:system", "modality": "image", "constants": {}}
    description._replace(preprocessing=record, input_shape=(28, 28, 1)).write(folder)
    target = tmp_path / "model.stablehlo"
    message = "cannot rebuild the preprocessing of 'image' of data set 'os:system'"
    assert message in refusal(capsys, "export", folder, "--to", target)
    run("export", folder, "--to", target, "--input-shape", "28,28,1")
    assert interop.read_function(target).in_avals[0].dtype == np.float32
