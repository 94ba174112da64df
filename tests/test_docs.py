"""README and documentation: their code runs, their commands and links exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from fdcmkd_jax import cli
from fdcmkd_jax.config.files import load_get_config
from fdcmkd_jax.study.cell_config import check_arms
from fdcmkd_jax.study.reading import read

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
WITH_PYTHON = [name for name, text in TEXTS.items() if "```python" in text]


def blocks(text, language):
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(text):
    """The commands in the shell blocks of a page, as words."""
    for block in blocks(text, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


@pytest.mark.parametrize("name", WITH_PYTHON)
def test_the_python_code_of_a_page_runs_from_top_to_bottom(name):
    namespace = {"__name__": "documentation"}
    for block in blocks(TEXTS[name], "python"):
        exec(compile(block, name, "exec"), namespace)


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_of_a_page_exists(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands(TEXTS[name]):
        command = " ".join(words)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE), command
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file() or words[1] == "-m", command
        elif words[0] == "fdcmkd-jax":
            assert words[1] in cli.COMMANDS, command
        else:
            assert words[:2] == ["pip", "install"], command
        for requirements in re.findall(r"-r (\S+)", command):
            assert (ROOT / requirements).is_file(), command


@pytest.mark.parametrize("name", TEXTS)
def test_every_config_and_preset_that_a_command_names_exists(name):
    for words in commands(TEXTS[name]):
        for word in words:
            if word.startswith("--config="):
                path, _, presets = word.removeprefix("--config=").partition(":")
                config = load_get_config(ROOT / path)(presets)
                keys = [re.match(r"--config\.([\w.]+)=", word) for word in words]
                for key in filter(None, keys):
                    section, *parts = key[1].split(".")
                    value = config[section]
                    for part in parts:
                        assert part in value, f"{name}: {key[1]}"
                        value = value[part]
            if word.startswith("studies/"):
                assert (ROOT / word).is_file(), word


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_to_a_file(name):
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", TEXTS[name]):
        if not target.startswith("http"):
            assert (folder / target).exists(), target


def test_the_study_of_the_documentation_is_a_valid_study(tmp_path):
    (block,) = blocks(TEXTS["docs/howto/studies.md"], "toml")
    assert tomllib.loads(block)["margin"] == 1.0
    path = tmp_path / "study.toml"
    path.write_text(block.replace('"configs/', f'"{ROOT}/configs/'), encoding="utf-8")
    study = read(path)
    check_arms(study)
    assert list(study.arms) == ["none", "fd_cmkd", "mismatched", "low_weight"]


def test_every_file_that_the_walk_through_names_exists():
    text = TEXTS["docs/walkthrough.md"]
    paths = set(re.findall(r"`((?:fdcmkd_jax/)?[\w/]+\.py)`", text))
    assert len(paths) > 12
    for path in paths:
        assert (ROOT / path).is_file() or (ROOT / "fdcmkd_jax" / path).is_file(), path


def test_every_module_of_the_api_reference_exists():
    for name, text in TEXTS.items():
        for module in re.findall(r"^::: ([\w.]+)$", text, flags=re.MULTILINE):
            path = ROOT.joinpath(*module.split("."))
            is_module = path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
            assert is_module or path.parent.with_suffix(".py").is_file(), f"{name}: {module}"


def test_every_preset_is_documented():
    text = TEXTS["docs/presets.md"]
    from fdcmkd_jax.config.presets import PRESETS

    assert [preset for preset in PRESETS if f"`{preset}`" not in text] == []


def test_the_readme_is_short_and_names_the_test_command():
    assert len(TEXTS["README.md"].splitlines()) <= 130
    assert "make test" in TEXTS["README.md"]
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
