"""Which module may import which, and what importing the package costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "fdcmkd_jax"
ROOT = Path(__file__).parents[1] / PACKAGE

# A module imports from rows above its own, or from its own folder.
ROWS = [
    {"types", "tables", "initializers", "allocator"},
    {"frequency"},
    {"losses"},
    {"metrics"},
    {"statistics"},
    {"tasks"},
    {"methods"},
    {"models"},
    {"teachers"},
    {"optim"},
    {"state"},
    {"step"},
    {"data"},
    {"cache"},
    {"log"},
    {"checkpoint"},
    {"evaluation"},
    {"loop"},
    {"plan"},
    {"report"},
    {"experiment"},
    {"study"},
    {"interop"},
]
ROW = {module: row for row, modules in enumerate(ROWS) for module in modules}
REPORT_READERS = {"experiment", "study"}


def imported_modules(source: str, path: tuple[str, ...]) -> Iterator[str]:
    """The dotted names of ours that a file imports, wherever in it the import stands.

    Args:
        source: The file's text.
        path: The file's place inside the package, ``("methods", "mse.py")``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            folder = [PACKAGE, *path[:-1]]
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE)


def wrong_imports(source: str, path: tuple[str, ...]) -> list[str]:
    """One sentence for each import that goes against the rows."""
    own = path[0].removesuffix(".py")
    complaints = []
    for name in imported_modules(source, path):
        other = name.removeprefix(f"{PACKAGE}.").split(".")[0]
        if other in ("__version__", own):
            continue
        if other not in ROW:
            complaints.append(f"{own} imports {name}, which has no row")
        elif ROW[other] >= ROW[own]:
            complaints.append(f"{own} imports {name}, which is not above it")
        elif other == "report" and own not in REPORT_READERS:
            complaints.append(
                f"{own} imports {name}, which only {' and '.join(sorted(REPORT_READERS))} may"
            )
    return complaints


FILES = sorted(
    path.relative_to(ROOT).parts for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"
)


def test_every_module_has_a_row():
    assert {path[0].removesuffix(".py") for path in FILES} <= set(ROW)


@pytest.mark.parametrize("path", FILES, ids="/".join)
def test_a_module_imports_only_from_rows_above_it(path):
    assert wrong_imports(ROOT.joinpath(*path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("source", "path", "complaint"),
    [
        ("from fdcmkd_jax.losses import combine", "frequency.py", "losses.combine, which is not"),
        ("from fdcmkd_jax import step", "methods/mse.py", "fdcmkd_jax.step, which is not above"),
        ("import fdcmkd_jax.loop", "data/base.py", "fdcmkd_jax.loop, which is not above"),
        ("from .. import state", "methods/mse.py", "fdcmkd_jax.state, which is not above"),
        ("from ..models.resnet import x", "methods/mse.py", "models.resnet.x, which is not"),
        ("from .methods import x", "losses.py", "methods.x, which is not above"),
        ("def f():\n    from fdcmkd_jax import loop", "step.py", "loop, which is not above"),
        ("from fdcmkd_jax.tables import build", "types.py", "tables.build, which is not above"),
        ("from fdcmkd_jax import split_bands", "losses.py", "split_bands, which has no row"),
        ("import fdcmkd_jax", "losses.py", "fdcmkd_jax, which has no row"),
        ("from fdcmkd_jax.report import page", "interop.py", "only experiment and study may"),
    ],
)
def test_an_import_against_the_rows_is_found(source, path, complaint):
    complaints = wrong_imports(source, tuple(path.split("/")))
    assert len(complaints) == 1
    assert complaint in complaints[0]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from fdcmkd_jax import losses, types", "methods/mse.py"),
        ("from fdcmkd_jax.methods.base import Method", "methods/mse.py"),
        ("from .base import Method", "methods/mse.py"),
        ("from ..types import Outputs", "methods/mse.py"),
        ("from fdcmkd_jax import __version__", "losses.py"),
        ("from fdcmkd_jax.report import page", "experiment.py"),
        ("from fdcmkd_jax.report import page", "study/page.py"),
        ("import jax.numpy as jnp\nfrom flax import linen", "types.py"),
    ],
)
def test_an_import_along_the_rows_is_not_complained_of(source, path):
    assert wrong_imports(source, tuple(path.split("/"))) == []


HEAVY = (
    "tensorflow",
    "tensorflow_datasets",
    "torch",
    "matplotlib",
    "grain",
    "orbax",
    "sklearn",
    "scipy.stats",
)
MEASURE = f"""
import sys, time
start = time.process_time()
import {PACKAGE}
print(time.process_time() - start)
print(*(name for name in {HEAVY} if name in sys.modules))
"""


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    # Processor seconds, which other processes on the machine do not lengthen.
    result = subprocess.run(
        [sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True
    )
    seconds, heavy = result.stdout.splitlines()
    assert heavy.split() == []
    assert float(seconds) < 2
