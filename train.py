"""Trains teachers and students as a config describes; see --help."""

import sys
from pathlib import Path
from typing import NoReturn

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
    if CONFIG.value is None or WORKDIR.value is None:
        _fail("needs --config=FILE and --workdir=DIR; --help says more.")
    from fdcmkd_jax import (
        experiment,
    )  # After the flags, so that --help and mistakes answer at once.
    from fdcmkd_jax.loop import NonFiniteError
    from fdcmkd_jax.tables import ConfigError

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax reports every file it writes.
    try:
        experiment.run(CONFIG.value, WORKDIR.value)
    except (ConfigError, NonFiniteError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read or write {error.filename or WORKDIR.value}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues the run.", file=sys.stderr)
        sys.exit(130)


def _parse(argv: list[str]) -> list[str]:
    """Reads the flags; a mistake in them or in the config file is one line."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, OSError, SyntaxError, TypeError, ValueError) as error:
        _fail(" ".join(str(error).split()))


def _fail(message: str) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
