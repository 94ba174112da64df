"""Settings of XLA for processors."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_net

from fdcmkd_jax import losses
from fdcmkd_jax.training import cpu

FLAGS = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_extra_options=xla_cpu_disable_loop_unrolling"
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, FLAGS),
        ("--xla_dump_to=x", f"{FLAGS} --xla_dump_to=x"),
        (FLAGS, FLAGS),
        ("--xla_cpu_use_fusion_emitters=true", f"{FLAGS} --xla_cpu_use_fusion_emitters=true"),
    ],
)
def test_the_users_flags_are_kept_and_come_last(monkeypatch, before, after):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if before is not None:
        monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    for _ in range(2):
        cpu.compile_quickly()
        assert os.environ["XLA_FLAGS"] == after


def test_other_versions_get_no_flag_they_may_not_know(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(jax, "__version_info__", (0, 11, 0))
    cpu.compile_quickly()
    assert os.environ["XLA_FLAGS"] == ""


def gradients():
    """A loss of a small network and its gradients, as a list of arrays."""
    model = toy_net(NUM_CLASSES)
    x = jax.random.normal(jax.random.key(1), (8, 6, 4, 1))
    labels = jnp.arange(8) % NUM_CLASSES
    variables = model.init(jax.random.key(0), x, train=False)

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(losses.cross_entropy(outputs.logits, labels))

    # Tests compile without most optimizations, where the flags would change little.
    optimized = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    program = jax.jit(jax.value_and_grad(loss)).lower(variables["params"]).compile(optimized)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(program(variables["params"]))]


def test_the_flags_change_no_gradient_beyond_rounding(tmp_path):
    # The tests run with the flags; XLA reads them once, so without them is another process.
    assert os.environ["XLA_FLAGS"].startswith(FLAGS)
    target = tmp_path / "gradients.npz"
    code = f"import numpy, test_cpu; numpy.savez({str(target)!r}, *test_cpu.gradients())"
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": paths}
    folder = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, check=True)
    with np.load(target) as plain:
        for name, leaf in zip(plain, gradients(), strict=True):
            np.testing.assert_allclose(leaf, plain[name], rtol=1e-5, atol=1e-6)
