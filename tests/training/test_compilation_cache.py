"""Compiled programs kept on disk."""

import os
import subprocess
import sys
from pathlib import Path

from fdcmkd_jax.training.compilation_cache import folder

SCRIPT = """
import jax, sys, warnings
if "keep" in sys.argv:
    from fdcmkd_jax.training.compilation_cache import keep_compiled_programs
    keep_compiled_programs()
else:
    import fdcmkd_jax.experiment
print(jax.jit(lambda x: 3 * x)(14))
"""


def run(home, *words, **variables):
    """Compiles one small program in a process of its own; returns what it printed as errors."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    environment = {**kept, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(home), **variables}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "42"
    return result.stderr


def files(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_programs_are_kept_in_the_users_cache_folder_and_broken_ones_compiled_anew(tmp_path):
    assert run(tmp_path, "keep") == ""
    kept = files(tmp_path)
    assert kept
    assert {file.parts[len(tmp_path.parts)] for file in kept} == {"fdcmkd_jax"}
    for file in kept:
        file.write_bytes(file.read_bytes()[:10])
    assert "Error reading persistent compilation cache" in run(tmp_path, "keep")


def test_jaxs_own_variables_move_the_folder_or_switch_it_off(tmp_path):
    run(tmp_path / "a", "keep", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "b"))
    run(tmp_path / "a", "keep", JAX_ENABLE_COMPILATION_CACHE="false")
    assert not (tmp_path / "a").exists()
    assert files(tmp_path / "b")


def test_the_library_switches_no_cache_on(tmp_path):
    run(tmp_path)
    assert files(tmp_path) == []


def test_the_folder_depends_on_the_processor(monkeypatch):
    here = folder()
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert folder() != here
    assert folder().parent == here.parent
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert folder().is_relative_to(Path.home() / ".cache" / "fdcmkd_jax")
