"""Runs the toy experiment in a process of its own.

It may kill itself at a given batch, and may be one of two processes that train together.
"""

import argparse
import os
import signal

import jax
import pytest
from builders import toy_config
from run_files import use_devices

from fdcmkd_jax import experiment
from fdcmkd_jax.training.devices import Devices


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir")
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--parallel", default="pmap")
    parser.add_argument("--devices", type=int, help="all, unless this says how many")
    parser.add_argument("--port", type=int)
    parser.add_argument("--process", type=int)
    arguments = parser.parse_args()
    if arguments.port:
        jax.distributed.initialize(
            f"127.0.0.1:{arguments.port}", num_processes=2, process_id=arguments.process
        )
    placed = 0
    split = Devices.split

    def split_or_die(self: Devices, batch: object) -> object:
        nonlocal placed
        placed += 1
        if placed == arguments.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return split(self, batch)

    Devices.split = split_or_die
    if arguments.devices:
        use_devices(pytest.MonkeyPatch(), arguments.devices)
    changes = {"directions": ("audio->image",), "train.parallel": arguments.parallel}
    experiment.run(toy_config(**changes), arguments.workdir, with_report=False)


if __name__ == "__main__":
    main()
