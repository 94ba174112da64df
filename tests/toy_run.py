"""Runs the toy experiment in a process of its own, and prints how many batches it placed.

It may kill itself at a given batch, and may be one of two processes that train together.
"""

import argparse
import os
import signal

import jax
from toy import toy_config, toy_data, toy_net

from fdcmkd_jax import data, experiment, models
from fdcmkd_jax.step import Devices


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir")
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--parallel", default="pmap")
    parser.add_argument("--port", type=int)
    parser.add_argument("--process", type=int)
    arguments = parser.parse_args()
    if arguments.port:
        jax.distributed.initialize(
            f"127.0.0.1:{arguments.port}", num_processes=2, process_id=arguments.process
        )
    data.TABLE["toy"] = toy_data
    models.TABLE["toy_net"] = toy_net
    seen = 0
    split = Devices.split

    def split_or_die(self: Devices, batch: dict) -> object:
        nonlocal seen
        seen += 1
        if seen == arguments.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return split(self, batch)

    Devices.split = split_or_die
    changes = {"directions": ("audio->image",), "train.parallel": arguments.parallel}
    experiment.run(toy_config(**changes), arguments.workdir, with_report=False)
    print(seen)


if __name__ == "__main__":
    main()
