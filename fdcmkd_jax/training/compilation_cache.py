"""Compiled programs kept on disk, so that later processes load what an earlier one compiled."""

import hashlib
import os
import platform
from pathlib import Path


def folder() -> Path:
    """Returns the user's folder of programs that were compiled for this type of processor.

    A program of another type may not run here, or round differently.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    information = Path("/proc/cpuinfo")
    lines = information.read_text("utf-8").splitlines() if information.is_file() else []
    described = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    processor = "\n".join([platform.machine(), platform.processor(), *described])
    name = hashlib.sha256(processor.encode()).hexdigest()[:16]
    return Path(base, "fdcmkd_jax", "compiled", name)


def keep_compiled_programs() -> None:
    """Switches on JAX's compilation cache, small programs included, for this process.

    For command lines: the one place outside a run's folder that they write to. Two variables of
    JAX change it: ``JAX_COMPILATION_CACHE_DIR`` names another folder, and
    ``JAX_ENABLE_COMPILATION_CACHE=false`` switches it off. The folder may be deleted at any time.
    """
    import jax  # The command line sets up the process first.

    if not jax.config.values["jax_enable_compilation_cache"]:
        return
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(folder()))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
