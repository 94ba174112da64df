"""PyTorch weights in, students out, on the command line and in code."""

import functools
import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from toy import digits_config

from benchmarks.pytorch_baseline import models as torch_models
from fdcmkd_jax import data, experiment, interop, models
from fdcmkd_jax.checkpoint import Description, load_weights
from fdcmkd_jax.interop import __main__ as command
from fdcmkd_jax.interop import catalog
from fdcmkd_jax.tables import ConfigError

K = 3
TINY = {"name": "resnet_tiny"}


@pytest.fixture(scope="module")
def tiny():
    """A PyTorch model that has seen a few batches."""
    torch.manual_seed(0)
    model = torch_models.resnet_tiny(num_classes=K)
    for _ in range(2):
        model(torch.randn(4, 1, 28, 28))
    return model.eval()


@pytest.fixture
def saved(tiny, tmp_path):
    torch.save(tiny.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def arrays(model):
    return {key: value.detach().numpy() for key, value in model.state_dict().items()}


def like(num_classes=K, channels=1):
    return catalog.abstract_variables(models.make(**TINY, num_classes=num_classes), channels)


def run(*argv, expect=0):
    """Runs the command in this process; returns nothing, asserts the exit status."""
    try:
        command.main([str(each) for each in argv])
        status = 0
    except SystemExit as end:
        status = end.code
    assert status == expect


def refusal(capsys, *argv):
    """The one line a mistake gets."""
    run(*argv, expect=2)
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    return error


# Names and layouts


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
    """A sample, from the layout documented by pytorch/vision."""
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
    found = interop.compare(state, like(), naming="reproduction")
    assert found.missing == ("net.bn1.bias",)
    assert found.unexpected == ("net.extra.weight",)
    assert found.misshapen == {"classifier.weight": ((7, 128), (K, 128))}
    with pytest.raises(interop.MismatchError) as raised:
        interop.from_state_dict(state, like(), naming="reproduction")
    for line in str(found).splitlines():
        assert line in str(raised.value)


def test_merging_keeps_the_start_where_the_file_says_nothing(tiny):
    state = arrays(tiny)
    state["classifier.weight"] = np.zeros((7, 128), np.float32)
    start = catalog.initial_variables(models.make(**TINY, num_classes=K), 1, seed=1)
    merged = interop.merge(state, start, naming="reproduction")
    np.testing.assert_array_equal(merged["params"]["fc"]["kernel"], start["params"]["fc"]["kernel"])
    found = interop.to_state_dict(merged, naming="reproduction")
    np.testing.assert_array_equal(found["net.conv1.weight"], state["net.conv1.weight"])


def test_other_networks_have_no_names():
    with pytest.raises(ConfigError, match="only ResNets have PyTorch names; params/Dense_0/kernel"):
        interop.to_state_dict(
            {"params": {"Dense_0": {"kernel": np.zeros((2, 2))}}}, naming="torchvision"
        )


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_a_backbone_is_recognised(depth):
    model = torch_models.resnet(depth, channels_in=2, num_classes=4)
    found = interop.identify(arrays(model), naming="reproduction")
    assert found == {"name": "resnet", "depth": depth}


# Files


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors"])
def test_files_keep_every_bit(tiny, tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    interop.write(path, arrays(tiny))
    found = interop.read(path)
    for key, value in arrays(tiny).items():
        np.testing.assert_array_equal(found[key], value, strict=True)


def test_pytorch_loads_what_is_written(tiny, tmp_path):
    interop.write(tmp_path / "weights.pt", arrays(tiny))
    other = torch_models.resnet_tiny(num_classes=K)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)


def test_a_prefix_of_data_parallel_is_cut(tiny, tmp_path):
    torch.save({f"module.{k}": v for k, v in tiny.state_dict().items()}, tmp_path / "weights.pt")
    assert sorted(interop.read(tmp_path / "weights.pt")) == sorted(arrays(tiny))


def test_halves_become_float32_with_the_same_values(tiny, tmp_path):
    state = {key: value.to(torch.bfloat16) for key, value in tiny.state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    variables = interop.from_state_dict(
        interop.read(tmp_path / "weights.pt"), like(), naming="reproduction"
    )
    kernel = variables["params"]["fc"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, state["classifier.weight"].float().numpy().T)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["plain", "torch", "legacy", "inside"])
def test_a_malicious_pickle_is_refused_and_runs_nothing(tiny, tmp_path, how, capsys):
    mark = tmp_path / "ran"
    path = tmp_path / "weights.pt"
    bomb = Malicious(mark)
    if how == "plain":
        path.write_bytes(pickle.dumps(bomb))
    elif how == "torch":
        torch.save(bomb, path)
    elif how == "legacy":
        torch.save(bomb, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({**tiny.state_dict(), "more": bomb}, path)
    assert "was refused; only files of plain tensors are read" in refusal(
        capsys, "import", path, "--to", tmp_path / "model"
    )
    assert not mark.exists()
    assert not (tmp_path / "model").exists()
    pickle.loads(pickle.dumps(bomb))  # The bomb is a live one.
    assert mark.exists()


# The command line


def test_import_makes_a_folder_that_serves_as_a_teacher(tiny, saved, tmp_path, capsys):
    run("import", saved, "--to", tmp_path / "model", "--modality", "image")
    assert "resnet_tiny" in capsys.readouterr().out
    variables, step = load_weights(tmp_path / "model", like())
    assert step == 2
    found = Description.read(tmp_path / "model")
    assert found == Description("image", TINY, K, (None, None, 1))
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
    assert "misshapen: classifier.weight is [3, 128], expected [9, 128]" in capsys.readouterr().out
    variables, _ = load_weights(tmp_path / "model", like(num_classes=9))
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


# With a run


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits_dir):
    """A short run on digits, with a student that starts from PyTorch's weights."""
    folder = tmp_path_factory.mktemp("interop")
    torch.manual_seed(5)
    model = torch_models.resnet_tiny(num_classes=10)
    torch.save(model.state_dict(), folder / "start.pt")
    run("import", folder / "start.pt", "--to", folder / "start")
    config = digits_config("none")
    config.data.update(data_dir=str(digits_dir), pairs_per_class=7)
    config.teacher.num_epochs = config.train.num_epochs = 1
    config.directions = ("audio->image",)
    config.teacher.checkpoints.audio = str(folder / "start")
    config.train.start_from.image = str(folder / "start")
    config.optim.update(learning_rate=1e-12, end_learning_rate=0.0, momentum=0.0)
    experiment.run(config, folder / "run", with_report=False)
    return folder, model


def test_a_student_starts_from_pytorchs_weights(finished):
    folder, model = finished
    student = folder / "run" / "students" / "audio-to-image"
    variables, _ = load_weights(student, like(num_classes=10))
    found = interop.to_state_dict(variables, naming="reproduction")
    for key, value in model.named_parameters():
        # One hardly moving step was taken, so rounding alone may differ.
        np.testing.assert_allclose(found[key], value.detach().numpy(), atol=1e-6)


def test_a_teacher_of_pytorchs_weights_has_pytorchs_accuracy(finished, digits_dir):
    folder, model = finished
    results = json.loads((folder / "run" / "results.json").read_text())["teachers"]["audio"]
    assert results["loaded_from"] == str(folder / "start")
    test = data.make("av_digits", data_dir=digits_dir, seed=0, pairs_per_class=7).splits["test"]
    examples = [test[n] for n in range(len(test))]
    clips = torch.from_numpy(np.stack([e["audio"] for e in examples]))
    with torch.no_grad():
        logits, _ = model.eval()(torch_models.images_first(clips))
    correct = logits.argmax(1).numpy() == np.array([e["label"] for e in examples])
    assert results["test"]["accuracy"] == pytest.approx(correct.mean())


def test_an_exported_student_gives_its_own_logits_in_pytorch(finished, tmp_path):
    student = finished[0] / "run" / "students" / "audio-to-image"
    run("export", student, "--to", tmp_path / "s.pt", "--naming", "reproduction")
    theirs = torch_models.resnet_tiny(num_classes=10).eval()
    theirs.load_state_dict(torch.load(tmp_path / "s.pt", weights_only=True), strict=True)
    x = np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype(np.float32)
    with torch.no_grad():
        logits, _ = theirs(torch_models.images_first(torch.from_numpy(x)))
    variables, _ = load_weights(student, like(num_classes=10))
    ours = models.make(**TINY, num_classes=10).apply(variables, jnp.asarray(x), train=False)
    np.testing.assert_allclose(ours.logits, logits.numpy(), rtol=0, atol=1e-5)


def test_an_exported_function_takes_raw_values_and_runs_by_itself(finished, tmp_path):
    folder, _ = finished
    student = folder / "run" / "students" / "audio-to-image"
    path = tmp_path / "student.stablehlo"
    run("export", student, "--to", path)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["inputs"] == {"image": {"shape": ["N", 28, 28, 1], "dtype": "uint8"}}
    assert 0 < record["preprocessing"]["image_mean"] < 1
    settings = json.loads((folder / "run" / "config.json").read_text())
    dataset = data.make(
        "av_digits",
        data_dir=Path(settings["data"]["data_dir"]),
        seed=0,
        pairs_per_class=settings["data"]["pairs_per_class"],
    )
    examples = [dataset.splits["test"][n] for n in range(5)]
    variables, _ = load_weights(student, like(num_classes=10))
    expected = models.make(**TINY, num_classes=10).apply(
        variables, jnp.stack([e["image"] for e in examples]), train=False
    )
    scale = record["preprocessing"]
    pixels = np.stack([e["image"] for e in examples]) * scale["image_std"] + scale["image_mean"]
    images = np.round(pixels * 255).astype(np.uint8)
    # In a process of its own, without this package.
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, numpy as np, jax\\n"
        "folder = sys.argv[1]\\n"
        "data = bytearray(open(folder + '/student.stablehlo', 'rb').read())\\n"
        "found = jax.export.deserialize(data).call({'image': np.load(folder + '/images.npy')})\\n"
        "assert 'fdcmkd_jax' not in sys.modules\\n"
        "np.savez(folder + '/found.npz', **found)\\n"
    ).replace("\\n", "\n")
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["logits"], expected.logits, atol=1e-5)
    np.testing.assert_allclose(found["features"], expected.features, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"].sum(-1), 1, rtol=1e-6)
