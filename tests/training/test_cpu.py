"""Settings of XLA for processors."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_net

from fdcmkd_jax import losses
from fdcmkd_jax.training import cpu

FLAG = "--xla_cpu_use_fusion_emitters=false"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, FLAG),
        ("--xla_dump_to=x", f"{FLAG} --xla_dump_to=x"),
        (FLAG, FLAG),
        ("--xla_cpu_use_fusion_emitters=true", f"{FLAG} --xla_cpu_use_fusion_emitters=true"),
    ],
)
def test_the_users_flags_are_kept_and_come_last(monkeypatch, before, after):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if before is not None:
        monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    for _ in range(2):
        cpu.compile_in_less_memory()
        assert os.environ["XLA_FLAGS"] == after


def test_other_versions_get_no_flag_they_may_not_know(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(jax, "__version_info__", (0, 11, 0))
    cpu.compile_in_less_memory()
    assert os.environ["XLA_FLAGS"] == ""


def test_both_code_generators_compute_the_same_gradients():
    model = toy_net(NUM_CLASSES)
    x = jax.random.normal(jax.random.key(1), (8, 6, 4, 1))
    labels = jnp.arange(8) % NUM_CLASSES
    variables = model.init(jax.random.key(0), x, train=False)

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(losses.cross_entropy(outputs.logits, labels))

    lowered = jax.jit(jax.value_and_grad(loss)).lower(variables["params"])
    results = [
        lowered.compile({"xla_cpu_use_fusion_emitters": used})(variables["params"])
        for used in (True, False)
    ]
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
