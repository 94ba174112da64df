"""The training loop: divergence, batches, processes."""

import os
import socket
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
from builders import toy_config
from run_files import TOTAL, TOY_RUN, arrays, arrays_of, assert_same_model, quick

from fdcmkd_jax import experiment, methods
from fdcmkd_jax.training import loop
from fdcmkd_jax.training.devices import Devices

pytestmark = pytest.mark.usefixtures("two_devices")


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_two_processes_train_what_one_trains(reference, tmp_path, parallel):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
    both = [
        subprocess.Popen(
            [
                sys.executable,
                TOY_RUN,
                tmp_path,
                f"--parallel={parallel}",
                f"--port={port}",
                f"--process={process}",
            ],
            env={**os.environ, "XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], errors
    folder = "students/audio-to-image"
    chex.assert_trees_all_close(
        arrays(tmp_path / folder, TOTAL)["weights"],
        arrays(reference[0] / folder, TOTAL)["weights"],
        rtol=1e-3,
        atol=1e-4,
    )


def test_both_directions_see_the_same_batches(tmp_path, monkeypatch):
    ids = []
    split = Devices.split

    def record(self, batch):
        if batch.targets.mask.shape == (8,):  # Evaluation has batches of 16.
            ids.append(batch.targets.id.tolist())
        return split(self, batch)

    monkeypatch.setattr(Devices, "split", record)
    config = quick(**{"train.num_epochs": 1, "teacher.num_epochs": 1})
    config.directions = ("audio->image", "image->audio")
    experiment.run(config, tmp_path, with_report=False)
    teachers, students = ids[:5], ids[5:]
    assert len(ids) == 10
    assert teachers == students


def test_shard_map_trains_the_same_run(alone, tmp_path):
    config = toy_config(**{"train.parallel": "shard_map", "directions": ("audio->image",)})
    experiment.run(config, tmp_path, with_report=False)
    folder = "students/audio-to-image"
    assert_same_model(tmp_path / folder, alone / folder)


def test_divergence_names_term_and_step_and_keeps_the_last_good_checkpoint(tmp_path):
    config = quick(**{"optim.learning_rate": 1e18})
    with pytest.raises(loop.NonFiniteError, match=r"became (nan|inf|-inf) at step \d+; last good"):
        experiment.run(config, tmp_path)
    saved = sorted((tmp_path / "teachers/audio/checkpoints").glob("[0-9]*"))
    for folder in saved:
        leaves = jax.tree.leaves(arrays_of(tmp_path / "teachers/audio", folder.name))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_term_that_is_not_finite_is_named_with_its_step(tmp_path, monkeypatch):
    broken = methods.stateless(
        lambda params, student, teacher, targets: {"odd": student.features[:, 0] / 0.0},
        names=("odd",),
    )
    monkeypatch.setitem(methods.TABLE, "broken", lambda: broken)
    config = quick()
    config.method.name = "broken"
    config.weights.odd = 1.0
    with pytest.raises(loop.NonFiniteError, match=r"the term 'odd' became .*(inf|nan) at step 1;"):
        experiment.run(config, tmp_path)
    assert (tmp_path / "teachers/audio/results.json").is_file()
