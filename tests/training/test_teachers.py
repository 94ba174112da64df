"""Teachers: trained, cached, loaded or left untrained."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest
from builders import toy_config
from run_files import Cut, arrays, arrays_of, audio_shapes, quick, rows

from fdcmkd_jax import experiment
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import loop, start, teacher_cache
from fdcmkd_jax.training.checkpoint import load_variables
from fdcmkd_jax.training.devices import Devices
from fdcmkd_jax.types import Batch

pytestmark = pytest.mark.usefixtures("two_devices")


def test_teacher_of_an_earlier_run_serves_without_training(reference, tmp_path, monkeypatch):
    config = quick()
    config.teacher.checkpoints.audio = str(reference[0] / "teachers/audio")
    results = experiment.run(config, tmp_path, with_report=False)
    teacher = results["teachers"]["audio"]
    assert teacher["test"] == reference[1]["teachers"]["audio"]["test"]
    assert teacher["loaded_from"].endswith("teachers/audio")
    assert not (tmp_path / "teachers/audio/checkpoints").exists()


@pytest.mark.parametrize(
    ("direction", "kind"),
    [
        ("audio->image", "true"),
        ("audio->image", "mismatched"),
        ("audio+image->image", "mismatched"),
    ],
)
def test_a_teacher_run_once_teaches_what_one_run_in_every_step_does(
    reference, tmp_path, monkeypatch, direction, kind
):
    config = toy_config(directions=(direction,))
    if "+" in direction:
        config.method = {
            "name": "multi_teacher",
            "method": config.method.to_dict(),
            "gates": "learned",
        }
        config.weights.gate = 1.0
    for modality in ("audio", "image"):
        config.teacher.checkpoints[modality] = str(reference[0] / "teachers" / modality)
    config.pairing.kind = kind
    config.input.drop_remainder = False
    ran, split = [], Devices.split

    def record(self, batch):
        if isinstance(batch, Batch) and (batch.teacher_inputs or batch.teacher_outputs):
            ran.append(not batch.teacher_outputs)
        return split(self, batch)

    monkeypatch.setattr(Devices, "split", record)
    experiment.run(config, tmp_path / "once", with_report=False)
    monkeypatch.setattr(teacher_cache, "FILE_LIMIT_MB", 0)
    experiment.run(config, tmp_path / "always", with_report=False)
    assert ran == [False] * 12 + [True] * 12  # Two epochs of six batches of 8, of 44 examples.
    folder = f"students/{direction.replace('->', '-to-')}"
    once, always = (tmp_path / name / folder for name in ("once", "always"))
    chex.assert_trees_all_close(
        [{"terms": row["terms"], "norms": row["gradient_norms"]} for row in rows(once, "train")],
        [{"terms": row["terms"], "norms": row["gradient_norms"]} for row in rows(always, "train")],
        rtol=1e-3,
        atol=1e-5,
    )
    chex.assert_trees_all_close(
        arrays(once, 12)["weights"], arrays(always, 12)["weights"], rtol=1e-3, atol=1e-4
    )


def test_untrained_teacher_is_what_training_would_start_from(tmp_path, monkeypatch):
    results = experiment.run(quick(**{"teacher.num_epochs": 0}), tmp_path / "drawn")
    teacher = results["teachers"]["audio"]
    assert (teacher["selected_step"], teacher["last"]["step"]) == (0, 0)
    assert teacher["selection"] == "none: untrained"
    states = []

    def record(job, *rest):
        states.append(start.initial_state(job, *rest))
        raise Cut

    monkeypatch.setattr(loop, "initial_state", record)
    with pytest.raises(Cut):
        experiment.run(quick(), tmp_path / "trained")
    weights = arrays_of(tmp_path / "drawn" / "teachers/audio", 0)
    chex.assert_trees_all_equal(weights, jax.tree.map(np.asarray, states[0].variables))


def test_teacher_of_another_seed_is_refused(reference, tmp_path):
    config = quick(seed=1)
    config.teacher.checkpoints.audio = str(reference[0] / "teachers/audio")
    with pytest.raises(ConfigError, match="trained with seed 0, this run has seed 1"):
        experiment.run(config, tmp_path)


def test_teacher_loads_without_its_optimizer(reference, tmp_path):
    folder = tmp_path / "audio"
    shutil.copytree(reference[0] / "teachers/audio", folder)
    like = audio_shapes()
    step = json.loads((folder / "results.json").read_text())["selected_step"]
    shutil.rmtree(folder / "checkpoints" / str(step) / "training")
    weights, loaded_step = load_variables(folder, like)
    assert loaded_step == step
    chex.assert_trees_all_equal(weights, arrays_of(folder, step))


def test_teacher_of_another_shape_is_refused(reference, tmp_path):
    config = quick()
    config.teacher.checkpoints.audio = str(reference[0] / "teachers/image")
    with pytest.raises(ConfigError, match="is not of the model the config names"):
        experiment.run(config, tmp_path)
