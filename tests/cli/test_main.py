"""The command line ``fdcmkd-jax``."""

import importlib
import subprocess
import sys

import pytest

from fdcmkd_jax import cli


def status_of(arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_lists_every_command_with_its_purpose(arguments, capsys):
    assert status_of(arguments) == 0
    output = capsys.readouterr().out
    for name, (_, purpose) in cli.COMMANDS.items():
        assert name in output
        assert purpose in output


def test_a_misspelt_command_is_refused_with_the_nearest(capsys):
    assert status_of(["trian"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("fdcmkd-jax: unknown command 'trian'; known: data, ")
    assert "Did you mean 'train'?" in errors


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_that_names_it(name, capsys):
    assert status_of([name, "--help"]) in (0, None)
    assert f"fdcmkd-jax {name}" in capsys.readouterr().out


def test_every_command_is_a_module_of_the_package():
    for module, _ in cli.COMMANDS.values():
        assert callable(importlib.import_module(module).main)


HEAVY = ("jax", "flax", "grain", "orbax", "tensorflow_datasets", "matplotlib", "sklearn")


def loaded(statements):
    """The heavy packages that some statements load, in a process of its own."""
    report = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{report}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["", "train", "study", "report"])
def test_help_loads_nothing_heavy(command):
    words = [command, "--help"] if command else ["--help"]
    assert (
        loaded(f"from fdcmkd_jax import cli\ntry: cli.main({words})\nexcept SystemExit: 0") == set()
    )


def test_a_config_is_checked_before_what_only_training_needs_is_loaded():
    statements = (
        "import runpy, fdcmkd_jax.config as configs\n"
        "configs.resolve(runpy.run_path('configs/av_digits.py')['get_config']())"
    )
    assert loaded(statements) == {"jax", "flax"}
