"""Weights in and out of whole runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from builders import digits_config
from interop_runs import TINY, like, run

from benchmarks.pytorch_baseline import models as torch_models
from fdcmkd_jax import data, experiment, interop, models
from fdcmkd_jax.training.checkpoint import load_variables


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
    variables, _ = load_variables(student, like(num_classes=10))
    actual = interop.to_state_dict(variables, naming="reproduction")
    for key, value in model.named_parameters():
        # One hardly moving step was taken, so rounding alone may differ.
        np.testing.assert_allclose(actual[key], value.detach().numpy(), atol=1e-6)


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
    variables, _ = load_variables(student, like(num_classes=10))
    ours = models.make(**TINY, num_classes=10).apply(variables, jnp.asarray(x), train=False)
    np.testing.assert_allclose(ours.logits, logits.numpy(), rtol=0, atol=1e-5)


def test_an_exported_function_takes_raw_values_and_runs_by_itself(finished, tmp_path):
    folder, _ = finished
    student = folder / "run" / "students" / "audio-to-image"
    path = tmp_path / "student.stablehlo"
    shutil.copytree(student, tmp_path / "moved")  # Without the run, its config and its data.
    run("export", tmp_path / "moved", "--to", path)
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
    variables, _ = load_variables(student, like(num_classes=10))
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
        "actual = jax.export.deserialize(data).call({'image': np.load(folder + '/images.npy')})\\n"
        "assert 'fdcmkd_jax' not in sys.modules\\n"
        "np.savez(folder + '/actual.npz', **actual)\\n"
    ).replace("\\n", "\n")
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)
    actual = np.load(tmp_path / "actual.npz")
    np.testing.assert_allclose(actual["logits"], expected.logits, atol=1e-5)
    np.testing.assert_allclose(actual["features"], expected.features, atol=1e-5)
    np.testing.assert_allclose(actual["probabilities"].sum(-1), 1, rtol=1e-6)
