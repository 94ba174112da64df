"""The shape of the code: import directions, sizes, docstrings, and the cost of an import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "fdcmkd_jax"
REPOSITORY = Path(__file__).parents[1]
ROOT = REPOSITORY / PACKAGE

# A module imports from rows above its own, or from its own folder.
ROWS = [
    {"types", "registry", "initializers", "collectives"},
    {"cutoff"},
    {"bases"},
    {"frequency"},
    {"adapters"},
    {"losses"},
    {"methods"},
    {"models"},
    {"tasks"},
    {"data"},
    {"training"},
    {"config"},
    {"report"},
    {"experiment"},
    {"study"},
    {"interop"},
    {"cli"},
    {"__main__"},
]
ROW = {module: row for row, modules in enumerate(ROWS) for module in modules}
REPORT_READERS = {"experiment", "study", "cli"}

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
OPENINGS = r"(What|Which|How|Who|Whom|Whose|Where|When|Why)\b"


def files_of(*folders: str) -> list[Path]:
    """The Python files of some folders of the repository, by their place in it."""
    return sorted(
        path.relative_to(REPOSITORY)
        for folder in folders
        for path in (REPOSITORY / folder).rglob("*.py")
    )


FILES = files_of(PACKAGE, "configs", "examples", "benchmarks", "tests")
PACKAGE_FILES = [
    path.relative_to(PACKAGE).parts
    for path in FILES
    if path.parts[0] == PACKAGE and path != Path(PACKAGE, "__init__.py")
]


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file of the repository."""
    return ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))


def imported_modules(source: str, path: tuple[str, ...]) -> Iterator[str]:
    """The dotted names of the package that a file imports, at its top or inside a function.

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
    module = path[0].removesuffix(".py")
    complaints = []
    for name in imported_modules(source, path):
        target = name.removeprefix(f"{PACKAGE}.").split(".")[0]
        if target in ("__version__", module):
            continue
        if target not in ROW:
            complaints.append(f"{module} imports {name}, which has no row")
        elif ROW[target] >= ROW[module]:
            complaints.append(f"{module} imports {name}, which is not above it")
        elif target == "report" and module not in REPORT_READERS:
            complaints.append(f"{module} imports {name}, which only {REPORT_READERS} may")
    return complaints


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a file, nested ones and methods included."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def code_lines(node: ast.AST, lines: list[str]) -> int:
    """The number of lines of a file or function without blank lines, comments and docstrings."""
    docstrings: set[int] = set()
    for part in ast.walk(node):
        if isinstance(part, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = part.body[0] if part.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    start, end = getattr(node, "lineno", 1), getattr(node, "end_lineno", len(lines))
    return sum(
        number not in docstrings
        and bool(lines[number - 1].strip())
        and not lines[number - 1].lstrip().startswith("#")
        for number in range(start, end + 1)
    )


def test_every_module_has_a_row():
    assert {path[0].removesuffix(".py") for path in PACKAGE_FILES} <= set(ROW)


@pytest.mark.parametrize("path", PACKAGE_FILES, ids="/".join)
def test_a_module_imports_only_from_rows_above_it(path):
    assert wrong_imports(ROOT.joinpath(*path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("source", "path", "complaint"),
    [
        ("from fdcmkd_jax.losses import combine", "frequency.py", "losses.combine, which is not"),
        ("from fdcmkd_jax import training", "methods/mse.py", "fdcmkd_jax.training, which is not"),
        ("import fdcmkd_jax.training.loop", "data/base.py", "training.loop, which is not above"),
        ("from .. import training", "methods/mse.py", "fdcmkd_jax.training, which is not above"),
        ("from ..models.resnet import x", "methods/mse.py", "models.resnet.x, which is not"),
        ("from .methods import x", "frequency.py", "methods.x, which is not above"),
        ("def f():\n    from fdcmkd_jax import config", "data/base.py", "config, which is not"),
        ("from fdcmkd_jax.registry import build", "types.py", "registry.build, which is not"),
        ("from fdcmkd_jax import split_bands", "losses/general.py", "which has no row"),
        ("import fdcmkd_jax", "frequency.py", "fdcmkd_jax, which has no row"),
        ("from fdcmkd_jax.report import page", "interop/files.py", "which only"),
    ],
)
def test_an_import_against_the_rows_is_reported(source, path, complaint):
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
        ("from fdcmkd_jax import __version__", "frequency.py"),
        ("from fdcmkd_jax.report import page", "experiment.py"),
        ("from fdcmkd_jax.report import page", "study/page.py"),
        ("import jax.numpy as jnp\nfrom flax import linen", "types.py"),
    ],
)
def test_an_import_along_the_rows_is_allowed(source, path):
    assert wrong_imports(source, tuple(path.split("/"))) == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_is_short(path):
    lines = (REPOSITORY / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES


@pytest.mark.parametrize("path", FILES, ids=str)
def test_functions_are_short(path):
    lines = (REPOSITORY / path).read_text(encoding="utf-8").splitlines()
    sizes = {
        f"{function.name}:{function.lineno}": code_lines(function, lines)
        for function in functions_of(tree_of(path))
    }
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_docstrings_open_with_a_verb_or_a_noun_phrase(path):
    tree = tree_of(path)
    documented = [tree] + [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    docstrings = [ast.get_docstring(node) or "" for node in documented]
    assert [text.splitlines()[0] for text in docstrings if re.match(OPENINGS, text)] == []


@pytest.mark.parametrize("path", files_of(f"{PACKAGE}/methods"), ids=str)
def test_methods_import_at_the_top_of_the_file_only(path):
    late = [
        node.lineno
        for function in functions_of(tree_of(path))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert late == []


@pytest.mark.parametrize("path", files_of("tests"), ids=str)
def test_tests_use_public_names_and_import_no_other_test_file(path):
    wrong = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            private = [name.name for name in node.names if re.match(r"_(?!_)", name.name)]
            wrong += private if module.startswith(PACKAGE) else []
            wrong += [module] if re.match(r"(.*\.)?test_", module) else []
    assert wrong == []


def test_there_is_at_least_one_line_of_tests_per_line_of_code():
    def count(folder: str) -> int:
        return sum(
            code_lines(tree_of(path), (REPOSITORY / path).read_text(encoding="utf-8").splitlines())
            for path in files_of(folder)
        )

    assert count("tests") >= count(PACKAGE)


def test_every_folder_of_the_package_has_an_init_file_which_a_wheel_needs():
    folders = {(REPOSITORY / path).parent for path in files_of(PACKAGE)}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


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
