"""Teachers and students that start from trained models, with an optimizer for each modality."""

import jax
import numpy as np
import pytest
from builders import toy_config
from run_files import audio_shapes

from fdcmkd_jax import config as configs
from fdcmkd_jax import experiment
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.checkpoint import load_variables

pytestmark = pytest.mark.usefixtures("two_devices")

PARTS = {"backbone_scale": 0.0, "decay_vectors": False}


def test_a_teacher_starts_from_a_trained_model_and_its_backbone_may_be_frozen(reference, tmp_path):
    start = reference[0] / "teachers" / "audio"
    config = toy_config(
        **{
            "directions": ("audio->image",),
            "train.num_epochs": 1,
            "teacher.num_epochs": 1,
            "teacher.start_from": {"audio": str(start)},
            "optim.by_modality": {"audio": PARTS},
        }
    )
    experiment.run(config, tmp_path, with_report=False)
    folder = tmp_path / "teachers" / "audio"
    before, after = (load_variables(path, audio_shapes())[0] for path in (start, folder))
    backbones = [
        {name: layer for name, layer in variables["params"].items() if name != "fc"}
        for variables in (before, after)
    ]
    jax.tree.map(np.testing.assert_array_equal, *backbones)
    assert np.any(before["params"]["fc"]["kernel"] != after["params"]["fc"]["kernel"])
    # Continued, it reads the state of both parts' optimizers, and has no step left to take.
    for path in (tmp_path, folder):
        (path / "results.json").unlink()
    experiment.run(config, tmp_path, with_report=False)
    jax.tree.map(np.testing.assert_array_equal, load_variables(folder, audio_shapes())[0], after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optim.by_modality": {"text": {}}},
            "modality in optim.by_modality: 'text'; known: audio",
        ),
        (
            {"optim.by_modality": {"audio": {"backbone_scal": 0.1}}},
            "option of section 'optim.by_modality.audio': 'backbone_scal'; .*'backbone_scale'",
        ),
        (
            {"optim.by_modality": {"audio": {"learning_rate": "fast"}}},
            "'optim.by_modality.audio': learning_rate must be a number, got 'fast'",
        ),
        ({"teacher.start_from": {"text": "runs/x"}}, "modality in teacher.start_from: 'text'"),
        ({"teacher.start_from": {"audio": "runs/x"}}, "no checkpoints under runs/x"),
    ],
)
def test_mistakes_show_before_anything_is_trained(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        experiment.run(toy_config(**changes), tmp_path / "run", with_report=False)
    assert not (tmp_path / "run" / "config.json").exists()


def test_each_modality_has_its_own_schedule(tmp_path):
    changes = {"optim.by_modality": {"image": {"learning_rate": 0.5, "warmup_steps": 2}}}
    plan = configs.build(configs.resolve(toy_config(**changes)), tmp_path)
    for optimizers in (plan.teacher_optimizers, plan.student_optimizers):
        assert float(optimizers["audio"].schedule(0)) == pytest.approx(0.05)
        assert float(optimizers["image"].schedule(0)) == pytest.approx(0.25)
