"""Trains teachers and students as a config describes; see --help."""

import re
import sys
from pathlib import Path
from typing import NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "What to train: a file of configs/, optionally with presets after a colon "
    "(configs/av_digits.py:unlabelled). Change single values by --config.KEY=VALUE, for example "
    "--config.seed=1 --config.weights.low=1.",
    lock_config=True,
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The run's folder: checkpoints, metrics, results.json, report.html. The same command run again "
    "continues a run that was cut off.",
)


def main(argv: list[str]) -> None:
    """Runs the experiment that the flags name."""
    if len(argv) > 1:
        _fail(f"unexpected argument {argv[1]!r}; settings are written --config.KEY=VALUE.")
    config, workdir = CONFIG.value, WORKDIR.value
    if config is None or not workdir:
        _fail("needs --config=FILE and --workdir=DIR; --help says more.")
    # After the flags, so that --help and mistakes in flags answer at once.
    from fdcmkd_jax import allocator, experiment
    from fdcmkd_jax.loop import NonFiniteError
    from fdcmkd_jax.tables import ConfigError

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax reports every file it writes.
    allocator.keep_freed_memory()
    try:
        experiment.run(config, workdir)
    except (ConfigError, NonFiniteError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read or write {error.filename or workdir}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues the run.", file=sys.stderr)
        sys.exit(130)


def _parse(argv: list[str]) -> list[str]:
    """Reads the flags; a mistake in them or in the config file is one line."""
    try:
        rest = flags.FLAGS(argv)
        _check_config()
        return rest
    except SystemExit as end:
        sys.exit(0 if end.code == 1 else end.code)  # absl ends --help with 1.
    except Exception as error:  # A config file is code, so anything may come out of it.
        _fail(_explain(error, argv))


def _check_config() -> None:
    """Raises an error if a config file was named that could not be read or returned no config."""
    if flags.FLAGS["config"].present:
        getattr(CONFIG.value, "keys", None)  # Where the file could not be read, this says so.
        if not isinstance(CONFIG.value, ml_collections.ConfigDict):
            found = type(CONFIG.value).__name__
            raise TypeError(f"get_config must return an ml_collections.ConfigDict, got {found}.")


def _explain(error: Exception, argv: list[str]) -> str:
    """One line on what is wrong: the config file, an override of a key it lacks, or a flag."""
    from fdcmkd_jax.tables import unknown

    overrides = [argument for argument in argv if re.match(r"--(no)?config\.", argument)]
    # The flag looks for overrides in sys.argv; without them the config itself can be read.
    sys.argv = [argument for argument in argv if argument not in overrides]
    flags.FLAGS.unparse_flags()
    try:
        flags.FLAGS(sys.argv, known_only=True)
        _check_config()
    except Exception as own:
        return _last_line(own, sys.argv)
    for argument in overrides if flags.FLAGS["config"].present else ():
        known = CONFIG.value
        for key in re.sub(r"^--(no)?config\.|[=\[].*", "", argument).split("."):
            choices = known.keys() if isinstance(known, ml_collections.ConfigDict) else ()
            if key not in choices:
                return str(unknown(f"config key in {argument!r}:", key, choices))
            known = known[key]
    return _last_line(error, argv)


def _last_line(error: Exception, argv: list[str]) -> str:
    """The line of an error that says what is wrong, without traceback and usage."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    line = re.sub(r"^\w*Error: |^\[Errno \d+\] ", "", lines[-1]) if lines else repr(error)
    if isinstance(error, flags.Error) and "parsing config file" not in str(error):
        return line  # It names its flag.
    file = re.search(r"^--?config[=\n](.*)$", "\n".join(argv), re.MULTILINE)
    return f"cannot use --config={file[1] if file else ''}: {line}"


def _fail(message: str) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
