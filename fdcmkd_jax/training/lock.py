"""A lock on a workdir, so that two processes do not write to it at once."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from fdcmkd_jax.registry import ConfigError


@contextlib.contextmanager
def locked(workdir: Path, activity: str) -> Iterator[None]:
    """Holds the lock of a workdir, which is made if missing, and then removed if it stays empty.

    The lock is released when the process ends, however it ends.

    Args:
        workdir: The folder.
        activity: What the process does there, for the message (``"training"``).

    Raises:
        ConfigError: If another process holds it.
    """
    is_new = not workdir.exists()
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / ".lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is {activity} in {workdir}; wait for it, or choose another "
                "--workdir."
            ) from error
        try:
            yield
        finally:
            if [entry.name for entry in workdir.iterdir()] == [path.name]:
                path.unlink()
                if is_new:
                    workdir.rmdir()
