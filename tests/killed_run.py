"""Runs the toy experiment in a process of its own, which kills itself at a given batch.

python tests/killed_run.py WORKDIR BATCH        BATCH 0 runs to the end
"""

import os
import signal
import sys

from toy import toy_config, toy_data, toy_net

from fdcmkd_jax import data, experiment, models
from fdcmkd_jax.step import Devices

CONFIG = {"directions": ("audio->image",)}


def main() -> None:
    workdir, kill_at = sys.argv[1], int(sys.argv[2])
    data.TABLE["toy"] = toy_data
    models.TABLE["toy_net"] = toy_net
    seen = 0
    split = Devices.split

    def split_or_die(self: Devices, batch: dict) -> object:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return split(self, batch)

    Devices.split = split_or_die
    experiment.run(toy_config(**CONFIG), workdir, with_report=False)
    print(seen)


if __name__ == "__main__":
    main()
