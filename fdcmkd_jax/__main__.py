"""Runs the command line: ``python -m fdcmkd_jax COMMAND ...``."""

from fdcmkd_jax.cli import main

if __name__ == "__main__":
    main()
