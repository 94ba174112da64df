"""Files of PyTorch and safetensors."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from interop_runs import K, arrays, like, refusal

from benchmarks.pytorch_baseline import models as torch_models
from fdcmkd_jax import interop


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors"])
def test_files_keep_every_bit(tiny, tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    interop.write(path, arrays(tiny))
    actual = interop.read(path)
    for key, value in arrays(tiny).items():
        np.testing.assert_array_equal(actual[key], value, strict=True)


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
