"""Eight virtual CPU devices, shapes checked at run time, and every transformation of a function."""

import atexit
import fcntl
import gc
import json
import os
import shutil
import tempfile

# Both are read when JAX starts its backend, so they come before anything imports it.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

# Compiling is most of the work: what one test, worker or child process has compiled, the
# others read.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import numpy as np
import pytest
from beartype import beartype


def check_function(function: Callable) -> Callable:
    """Checks a function's arguments and result against its annotations whenever it is called.

    Constructors are left out: JAX rebuilds data classes such as `Outputs` around shapes, ``None``
    and partition specs, where their annotations speak of arrays.
    """
    return function if function.__name__ == "__init__" else beartype(function)


jaxtyping.install_import_hook("fdcmkd_jax", f"{__name__}.{check_function.__name__}")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)  # Tests compile much and run little.
hypothesis.settings.register_profile(
    "fixed", derandomize=True, deadline=None, database=None, max_examples=12
)
hypothesis.settings.load_profile("fixed")


def pytest_configure() -> None:
    """Compiles as training does, before JAX starts: tests take a third less time."""
    from fdcmkd_jax.training.cpu import compile_quickly

    compile_quickly()


@pytest.fixture(autouse=True, scope="module")
def unloaded_programs() -> Iterator[None]:
    """Unloads compiled programs after a file of tests, once there are many.

    Each occupies memory maps, of which Linux allows a process 65,530; beyond that it crashes.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


def _vmap(function: Callable) -> Callable:
    """`function` of a batch, run on batches of one example by vmap."""

    def one(*example):
        result = function(*jax.tree.map(lambda x: x[None], example))
        return jax.tree.map(lambda y: y[0], result)

    return jax.jit(jax.vmap(one))  # Compiled only to be quick.


def _pmap(function: Callable, *, devices: int = 2) -> Callable:
    """`function` of a batch, run on an equal share of it on each of several devices."""

    def whole(*batch):
        shares = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
        result = jax.pmap(function, devices=jax.devices()[:devices])(*shares)
        return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), result)

    return whole


@pytest.fixture(params=[jax.jit, _vmap, _pmap], ids=["jit", "vmap", "pmap"])
def transform(request: pytest.FixtureRequest) -> Callable:
    """A transformation that must not change what a function of a batch (even N) returns."""
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every test that asks."""
    return np.random.default_rng(0)


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """Calls the package as its users do, so that its own errors are seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for `av_digits`; each draw is prepared by the first test that asks."""
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, int]:
    """An uninterrupted toy run, its results, and how often it read the test split.

    Made once for all workers of a test session.
    """
    from run_files import make_reference

    workdir = made_once(tmp_path_factory, "reference", make_reference)
    results, reads = (
        json.loads((workdir / name).read_text()) for name in ("results.json", "reads.json")
    )
    return workdir, results, reads


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted toy run of one direction; its bits are not those of one among two."""
    from run_files import make_alone

    return made_once(tmp_path_factory, "alone", make_alone)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Makes a run in a folder that all workers of a test session share."""
    shared = os.environ.get("PYTEST_XDIST_WORKER") is not None
    base = factory.getbasetemp()
    folder = base.parent if shared else base
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / f"{name}.made").exists():
            make(folder / name)
            (folder / f"{name}.made").touch()
    return folder / name


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps runs on two devices."""
    from run_files import use_devices

    use_devices(monkeypatch, 2)
