"""Both libraries as they are used, in both precisions."""

import jax
import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def as_in_use():
    """One thread of PyTorch; XLA's optimizations, without which deep networks run for minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    torch.set_num_threads(threads)


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """A precision, in both libraries."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param
