"""Every term of FD-CMKD equals PyTorch's, with its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from builders import terms_fn
from parity_cases import TOLERANCE, K, N, assert_close, at_torch_name, our_heads, outputs_of

from benchmarks.pytorch_baseline import losses as torch_losses
from fdcmkd_jax import methods, tasks


@pytest.mark.parametrize("size", [128, 512, 2048])
def test_every_term_of_the_method_and_its_gradients(size, precision):
    rng = np.random.default_rng(size)
    student, teacher = rng.normal(size=(2, N, size)).astype(precision)
    logits, teacher_logits = rng.normal(size=(2, N, K)).astype(precision)
    labels = rng.integers(0, K, N)
    torch.manual_seed(0)
    heads = torch_losses.Heads(size, K, auxiliary=True).to(getattr(torch, precision))
    inputs_ = [torch.from_numpy(x).requires_grad_() for x in (logits, student)]
    theirs = torch_losses.terms(
        heads, *inputs_, torch.from_numpy(teacher), torch.from_numpy(labels)
    )

    method = methods.make("fd_cmkd")
    task = tasks.make("classification", num_classes=K)
    targets = task.targets(jnp.asarray(labels, jnp.int32))
    params = our_heads(heads)

    def ours(params, logits, features):
        outputs = outputs_of(logits, features)
        terms = terms_fn(method)(params, outputs, outputs_of(teacher_logits, teacher), targets)
        terms = {"task": targets.loss(logits), **terms}
        return {name: jnp.mean(term) for name, term in terms.items()}

    values = jax.jit(ours)(params, logits, student)
    assert sorted(values) == sorted(theirs)
    gradients = jax.jit(jax.jacrev(ours, argnums=(0, 1, 2)))(params, logits, student)
    for name, term in theirs.items():
        assert_close(values[name], term.detach().numpy(), TOLERANCE[precision], name)
        of_heads, of_logits, of_features = gradients[name]
        expected = torch.autograd.grad(
            term, [*inputs_, *heads.parameters()], retain_graph=True, materialize_grads=True
        )
        assert_close(of_logits, expected[0].numpy(), TOLERANCE[precision], name)
        assert_close(of_features, expected[1].numpy(), TOLERANCE[precision], name)
        for (key, _), gradient in zip(heads.named_parameters(), expected[2:], strict=True):
            ours_of_key = at_torch_name(of_heads, key)
            assert_close(ours_of_key, gradient.numpy(), TOLERANCE[precision], f"{name} on {key}")
