"""Trains teachers and students as a config describes; see --help."""

import sys

from fdcmkd_jax.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
