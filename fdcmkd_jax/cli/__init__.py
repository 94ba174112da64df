"""The command line ``fdcmkd-jax``; from a clone, ``python -m fdcmkd_jax``."""

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from fdcmkd_jax.registry import unknown

COMMANDS = {
    "train": ("fdcmkd_jax.cli.train", "train teachers and students as a config describes"),
    "study": ("fdcmkd_jax.study.__main__", "run many configs over seeds, with statistics"),
    "report": ("fdcmkd_jax.report.__main__", "write the report of a finished run again"),
    "interop": ("fdcmkd_jax.interop.__main__", "import PyTorch weights, export trained models"),
    "data": ("fdcmkd_jax.data.__main__", "list, prepare and describe data sets"),
}
"""The module and the purpose of each command."""


def usage() -> str:
    """Returns the help text."""
    lines = [f"  {name:9}{purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: fdcmkd-jax COMMAND ...",
            "",
            "Cross-modal knowledge distillation in JAX.",
            "",
            "commands:",
            *lines,
            "",
            "example:",
            "  fdcmkd-jax train --config=configs/av_digits.py --workdir=runs/digits",
            "",
            "fdcmkd-jax COMMAND --help says more.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and exits with its status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0)
    name, *rest = argv
    if name not in COMMANDS:
        print(f"fdcmkd-jax: {unknown('command', name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    command = importlib.import_module(COMMANDS[name][0])
    sys.exit(command.main(rest, prog=f"fdcmkd-jax {name}"))
