"""The config files of the repository, with every preset."""

import runpy
from pathlib import Path

from fdcmkd_jax.config import presets as common

ROOT = Path(__file__).parents[1]
MODULES = {path.name: runpy.run_path(str(path)) for path in sorted((ROOT / "configs").glob("*.py"))}
COMPLETE = {"supervised": "unlabelled,supervised"}  # Presets that need another one first.
CHOICES = [
    ("av_digits.py", COMPLETE.get(presets, presets))
    for presets in ("", *common.PRESETS, *MODULES["av_digits.py"]["PRESETS"])
] + [("av_digits.py", "unlabelled,mismatched"), ("av_digits.py", "unlabelled,kd")]


def joined(parts):
    """A config section that joins methods."""
    return {"name": "join", "methods": parts}
