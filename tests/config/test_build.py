"""Resolved configs, and the errors of wrong ones."""

import json

import ml_collections
import pytest
from config_files import CHOICES, joined

from fdcmkd_jax import config as configs
from fdcmkd_jax import experiment
from fdcmkd_jax.registry import ConfigError


@pytest.mark.parametrize(("name", "presets"), CHOICES, ids=[":".join(c) for c in CHOICES])
def test_a_resolved_config_is_plain_data_and_resolves_to_itself(name, presets, load):
    resolved = configs.resolve(load(name, presets))
    assert json.loads(json.dumps(resolved)) == resolved
    assert configs.resolve(ml_collections.ConfigDict(resolved)) == resolved


def test_a_stage_the_models_lack_is_named_before_anything_is_trained(load, tmp_path):
    config = load("av_digits.py", "fitnet")
    config.method.stage = "stage9"
    with pytest.raises(ConfigError, match=r"^unknown stage 'stage9'; known: stage1, stage2, "):
        experiment.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("task.name", "ranking", "unknown task 'ranking'; known: classification"),
        ("seed", -1, r"seed must be an integer in \[0, 2\*\*32\), got -1"),
        ("seed", "one", r"seed must be an integer in \[0, 2\*\*32\), got 'one'"),
        ("directions", (), r"directions must be a list such as \('audio->image',\), got \[\]"),
        ("directions", "audio->image", "directions must be a list .*, got 'audio->image'"),
        ("directions", ("audio->image", "audio -> image"), r"directions repeat: \['audio->image'"),
        ("directions", ("->image",), "a direction is 'teacher->student' .*, got '->image'"),
        ("teacher.num_epochs", -1, "section 'teacher': num_epochs must not be negative, got -1"),
        ("task.label_smoothing", 1.0, r"label_smoothing must lie in \[0, 1\), got 1.0"),
        ("teacher.checkpoints", {"smell": "x"}, "modality in teacher.checkpoints: 'smell'"),
        ("optim", 3, "the config section optim must hold keys, got 3"),
        ("models", {"audio": {"name": "resnet_tiny"}}, "config section models: 'image'"),
        ("models.audio", "resnet_tiny", "models.audio must hold a name .*, got 'resnet_tiny'"),
        ("models.audio", {}, "models.audio must hold a name and its options, got {}"),
        ("method.cutoff", "half", "method 'fd_cmkd': cutoff must be a number, got 'half'"),
        ("method.names", "x", "unknown option of method 'fd_cmkd': 'names'"),
        ("method", {"name": "fdcmkd"}, "unknown method 'fdcmkd'; known: .* mean 'fd_cmkd'"),
        ("method", {"name": "rkd", "axis_name": "i"}, "option of method 'rkd': 'axis_name'; known"),
        ("models.audio.axis_name", "i", "option of model 'resnet_tiny': 'axis_name'; known: dtype"),
        ("method", {"name": "join"}, "method 'join' needs the option 'methods'"),
        ("method", joined({}), "method 'join': methods must hold at least one method"),
        ("method", joined({"distt": {}}), "^unknown method 'distt'; known: .* mean 'dist'"),
        (
            *("method", joined({"kd": {"temp": 4}})),
            "^unknown option of method 'kd': 'temp'; known: temperature",
        ),
        (
            *("method", joined({"kd": {"temperature": 0.0}})),
            "^method 'kd': temperature must be positive, got 0.0",
        ),
        (
            *("method", joined({"rkd": {"axis_name": "i"}})),
            "^unknown option of method 'rkd': 'axis_name'; known: none",
        ),
        ("weights.low", float("inf"), "weights.low must be a finite number, .* got inf"),
        ("weights.low", float("nan"), "weights.low must be a finite number, .* got nan"),
        ("weights.low", "big", "weights.low must be a finite number, .* got 'big'"),
        ("optim.learning_rate", float("nan"), "learning_rate must be positive .* got nan"),
        ("optim.steps_per_epoch", 5, "unknown option of section 'optim': 'steps_per_epoch'"),
        ("train.num_epochs", 2.5, "num_epochs must be a whole number, got 2.5"),
        ("train.num_epochs", None, "num_epochs must be a whole number, got None"),
        ("train.parallel", "vmap", "parallel must be 'pmap' or 'shard_map', got 'vmap'"),
        ("evaluate.batch_size", 0, "every_epochs and batch_size must be positive, got 5 and 0"),
        ("evaluate.batch_size", 501, "a batch of 501 does not divide over 8 devices"),
        ("evaluate.select_split", "train", "select_split must be 'val' or 'test', got 'train'"),
        ("evaluate.select_heads", ("align_low",), "select_heads must hold 'main'"),
        ("checkpoint.keep_latest", 0, "keep_latest positive, got 30.0, 0 and 0"),
        ("input.batch_size", 6.5, "section 'input': batch_size must be a whole number, got 6.5"),
        ("data.batch_size", 64, "the config key data.batch_size was renamed: use input.batch_size"),
        ("data.pairing", "true", "data.pairing was renamed: use pairing.kind"),
        ("data.labelled_per_class", 3, "was renamed: use pairing.labelled_per_class"),
        ("method", {"name": "logit"}, "^method 'logit' was renamed: use 'kd'"),
        ("method", joined({"feat": {}}), "^method 'feat' was renamed: use 'fitnet'"),
        ("pairing.kind", "mixed", r"kind must be one of \['true', .*got 'mixed'"),
        ("method", joined({"mse": 4}), "method.methods.mse must hold options, got 4"),
        ("method", {"name": "multi_teacher", "method": {}}, "method.method must hold a name"),
        ("data.batch", 64, "unknown option of data set 'av_digits': 'batch'"),
        ("pairing.drop_unlabelled", True, "drop_unlabelled needs labelled_per_class"),
        ("input.augment", "shift", "section 'input': augment must be keys and values, got 'shift'"),
        ("input.augment", {"image": "shift"}, "input.augment.image must hold a name .*'shift'"),
        ("input.augment", {"image": {"pixels": 1}}, "input.augment.image must hold a name"),
        ("input.augment", {"smell": {}}, "unknown modality of av_digits 'smell'"),
    ],
)
def test_a_wrong_value_is_named_and_the_workdir_left_alone(path, value, message, load, tmp_path):
    plain = load().to_dict()
    section = plain
    *above, last = path.split(".")
    for key in above:
        section = section[key]
    section[last] = value
    with pytest.raises(ConfigError, match=message):
        experiment.run(ml_collections.ConfigDict(plain), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "section", [section for section in configs.SECTIONS if section != "pairing"]
)
def test_a_section_that_is_missing_is_named(section, load, tmp_path):
    plain = load().to_dict()
    del plain[section]
    with pytest.raises(ConfigError, match=f"the config lacks the section '{section}'"):
        experiment.run(ml_collections.ConfigDict(plain), tmp_path)
