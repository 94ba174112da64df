"""The command that trains: ``fdcmkd-jax train``, or ``python train.py`` from a clone."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import ml_collections
from absl import flags, logging
from ml_collections import config_flags

HELP = """\
usage: {prog} --config=FILE[:PRESETS] --workdir=DIR [--config.KEY=VALUE ...]

Trains teachers and students as a config file describes, evaluates them, and writes a report.

  --config=FILE         a config file, which may lie anywhere: Python with a function get_config.
                        Presets follow a colon, joined by commas: configs/av_digits.py:unlabelled,kd
  --config.KEY=VALUE    changes one value, for example --config.seed=1 --config.weights.low=1
  --workdir=DIR         the folder of the run: checkpoints, metrics, results.json, report.html

The same command run again continues a run that was cut off, or says that it is finished. SIGTERM
saves the state at the next row of the log; Ctrl-C stops at once, at the last checkpoint.

Methods, models, data sets, tasks, augmentations and optimizers may be named by an import path,
as in --config.method.name=my_package.my_module:my_method. Modules are looked up in the current
folder and beside the config file, too.

Nothing is written outside the workdir but compiled programs, which later runs load from
~/.cache/fdcmkd_jax (or $XDG_CACHE_HOME). JAX_COMPILATION_CACHE_DIR=DIR moves them, and
JAX_ENABLE_COMPILATION_CACHE=false keeps none.

exit status: 0 when the run is finished; 2 and one line on a mistake; 143 after SIGTERM.
"""


class _Flags:
    """The flags of one call: overrides become flags themselves, so a second call needs new ones."""

    def __init__(self) -> None:
        self.values = flags.FlagValues()
        self.config = config_flags.DEFINE_config_file(
            "config", None, "The config file.", flag_values=self.values, lock_config=True
        )
        self.workdir = flags.DEFINE_string(
            "workdir", None, "The run's folder.", flag_values=self.values
        )


def main(arguments: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """Runs the command line.

    Args:
        arguments: Its words; those of the process by default.
        prog: The command's name in messages.

    Returns:
        The exit status.
    """
    argv = [prog, *(sys.argv[1:] if arguments is None else arguments)]
    if any(word in ("-h", "--help", "-help") for word in argv):
        print(HELP.format(prog=prog), end="")
        return 0
    try:
        config, workdir = _parse(argv)
        return _train(config, workdir)
    except _UsageError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2


class _UsageError(Exception):
    """A user's mistake, in one line."""


def _train(config: ml_collections.ConfigDict, workdir: str) -> int:
    # After the flags, so that --help and mistakes in flags answer at once.
    from fdcmkd_jax import experiment
    from fdcmkd_jax.training.allocator import keep_freed_memory
    from fdcmkd_jax.training.compilation_cache import keep_compiled_programs
    from fdcmkd_jax.training.cpu import compile_quickly
    from fdcmkd_jax.training.loop import NonFiniteError

    logging.set_verbosity(logging.WARNING)  # Orbax reports every file it writes.
    keep_freed_memory()
    compile_quickly()
    keep_compiled_programs()
    try:
        experiment.run(config, workdir)
    except (ValueError, NonFiniteError) as error:
        _raise_usage_error(error, workdir)
    except OSError as error:
        raise _UsageError(
            f"cannot read or write {error.filename or workdir}: {error.strerror or error}"
        ) from error
    except experiment.StoppedError as error:
        print(f"{error}; the same command continues the run.", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues the run.", file=sys.stderr)
        return 130
    return 0


def _raise_usage_error(error: Exception, workdir: str) -> NoReturn:
    """Raises a one-line error for a user's mistake; any other error goes on with its traceback."""
    from fdcmkd_jax.registry import ConfigError
    from fdcmkd_jax.training.loop import NonFiniteError

    if isinstance(error, (ConfigError, NonFiniteError)):
        raise _UsageError(str(error)) from error
    if "No space left" in str(error):  # As the checkpoint library reports it.
        raise _UsageError(f"cannot write {workdir}: No space left on device") from error
    raise error


def _parse(argv: list[str]) -> tuple[ml_collections.ConfigDict, str]:
    """Reads the flags; a mistake in them, or in the config file, is a `_UsageError`."""
    _add_import_folders(argv)
    command_flags = _Flags()
    overrides = [word for word in argv if re.match(r"--(no)?config\.", word)]
    # The config flag looks for its overrides in sys.argv.
    sys.argv = argv
    try:
        rest = command_flags.values(argv)
        config = _checked_config(command_flags)
    except (Exception, SystemExit) as error:  # A config file is code and may raise anything.
        raise _UsageError(_explain(error, argv, overrides)) from error
    if len(rest) > 1:
        raise _UsageError(
            f"unexpected argument {rest[1]!r}; settings are written --config.KEY=VALUE."
        )
    if config is None or not command_flags.workdir.value:
        raise _UsageError("needs --config=FILE and --workdir=DIR; --help says more.")
    return config, command_flags.workdir.value


def _add_import_folders(argv: list[str]) -> None:
    """Lets import paths name modules of the current folder and of the config file's folder."""
    match = re.search(r"^--?config[=\n]([^:\n]+)", "\n".join(argv), re.MULTILINE)
    folders = [Path.cwd(), *([Path(match[1]).absolute().parent] if match else [])]
    sys.path.extend(str(folder) for folder in folders if str(folder) not in sys.path)


def _checked_config(command_flags: _Flags) -> Any:
    """Returns the config; None if no file was named.

    Raises:
        TypeError: If the file returned no config.
    """
    if not command_flags.values["config"].present:
        return None
    config = command_flags.config.value
    getattr(config, "keys", None)  # An error in reading the file shows here.
    if not isinstance(config, ml_collections.ConfigDict):
        raise TypeError(
            f"get_config must return an ml_collections.ConfigDict, got {type(config).__name__}."
        )
    return config


def _explain(error: BaseException, argv: list[str], overrides: list[str]) -> str:
    """Names the mistake in one line: in the config file, an override of a key, or a flag."""
    from fdcmkd_jax.registry import unknown

    # Without the overrides the config itself can be read.
    sys.argv = [word for word in argv if word not in overrides]
    command_flags = _Flags()
    try:
        command_flags.values(sys.argv, known_only=True)
        config = _checked_config(command_flags)
    except (Exception, SystemExit) as config_error:
        return _last_line(config_error, sys.argv)
    for word in overrides if config is not None else ():
        section = config
        for key in re.sub(r"^--(no)?config\.|[=\[].*", "", word).split("."):
            choices = section.keys() if isinstance(section, ml_collections.ConfigDict) else ()
            if key not in choices:
                return str(unknown(f"config key in {word!r}:", key, choices))
            section = section[key]
    return _last_line(error, argv)


def _last_line(error: BaseException, argv: list[str]) -> str:
    """Returns the line of an error that names the mistake, without traceback and usage."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    line = re.sub(r"^\w*Error: |^\[Errno \d+\] ", "", lines[-1]) if lines else repr(error)
    if isinstance(error, flags.Error) and "parsing config file" not in str(error):
        return line  # It names its flag.
    file = re.search(r"^--?config[=\n](.*)$", "\n".join(argv), re.MULTILINE)
    return f"cannot use --config={file[1] if file else ''}: {line}"
