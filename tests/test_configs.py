"""Every file of configs/ and every preset describes a run that can be built."""

import json
import re
import runpy
from pathlib import Path

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from fdcmkd_jax import experiment, plan
from fdcmkd_jax.data import pipeline
from fdcmkd_jax.tables import ConfigError

ROOT = Path(__file__).parents[1]
MODULES = {path.name: runpy.run_path(str(path)) for path in sorted((ROOT / "configs").glob("*.py"))}
DIGITS = MODULES["av_digits.py"]
COMPLETE = {"supervised": "unlabelled,supervised"}  # Which presets need another first.
CHOICES = [
    (name, COMPLETE.get(presets, presets))
    for name, module in MODULES.items()
    for presets in ("", *module.get("PRESETS", ()))
]
CHOICES += [("av_digits.py", "unlabelled,mismatched"), ("av_digits.py", "unlabelled,logit")]


def joined(parts):
    """A config section that joins methods."""
    return {"name": "join", "methods": parts}


@pytest.fixture
def load(digits_dir):
    """Loads a config whose data are already prepared, reading no more of them than is needed."""

    def load(name="av_digits.py", presets=""):
        get_config = MODULES[name]["get_config"]
        config = get_config(presets) if presets else get_config()
        config.data.update(data_dir=str(digits_dir), in_memory=False)
        return config

    return load


@pytest.fixture
def plan_of(load, tmp_path):
    def build(*args):
        return plan.build(plan.resolve(load(*args)), tmp_path)

    return build


def leaves(tree, path=""):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


@pytest.mark.parametrize(("name", "presets"), CHOICES, ids=[":".join(c) for c in CHOICES])
def test_every_config_and_preset_builds_before_anything_is_written(
    name, presets, plan_of, tmp_path
):
    built = plan_of(name, presets)
    assert built.directions
    for direction in built.directions:
        assert {*direction.teachers, direction.student} <= set(built.models)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "presets"), CHOICES, ids=[":".join(c) for c in CHOICES])
def test_a_resolved_config_is_plain_data_and_resolves_to_itself(name, presets, load):
    resolved = plan.resolve(load(name, presets))
    assert json.loads(json.dumps(resolved)) == resolved
    assert plan.resolve(ml_collections.ConfigDict(resolved)) == resolved


@pytest.mark.parametrize("name", MODULES)
def test_a_config_states_every_option_so_that_a_flag_can_change_it(name):
    config = MODULES[name]["get_config"]()
    assert set(leaves(config.to_dict())) >= set(leaves(plan.resolve(config)))


@pytest.mark.parametrize("name", MODULES)
def test_a_config_file_begins_with_its_command(name):
    assert f"python train.py --config=configs/{name} --workdir=" in MODULES[name]["__doc__"]


def test_every_preset_is_described_and_every_described_preset_exists():
    described = re.findall(r"^    (\w+) {2,}\S", DIGITS["__doc__"], flags=re.MULTILINE)
    assert sorted(described) == sorted(DIGITS["PRESETS"])


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown preset 'papr'; known: afd, authors_code, .*, paper"
    ):
        DIGITS["get_config"]("unlabelled,papr")


def test_a_preset_without_the_one_it_needs_says_what_is_missing(plan_of):
    with pytest.raises(ConfigError, match="drop_unlabelled needs labelled_per_class"):
        plan_of("av_digits.py", "supervised")


def test_presets_apply_in_turn():
    config = DIGITS["get_config"]("paper,weight_1,mismatched")
    assert config.method.auxiliary_heads is False
    assert config.data.pairing == "mismatched"


def test_the_options_of_joined_methods_are_filled_in(load):
    config = load("av_digits.py", "join")
    config.method = joined({"dist": {}, "logit": {"temperature": 2.0}, "mse": {}})
    assert plan.resolve(config)["method"]["methods"] == {
        "dist": {"temperature": 1.0},
        "logit": {"temperature": 2.0},
        "mse": {},
    }


def test_a_stage_the_models_lack_is_named_before_anything_is_trained(load, tmp_path):
    config = load("av_digits.py", "feat")
    config.method.stage = "stage9"
    with pytest.raises(ConfigError, match=r"^unknown stage 'stage9'; known: stage1, stage2, "):
        experiment.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_joining_keeps_the_default_methods_weights(plan_of, load):
    default, weights = load().weights.to_dict(), load("av_digits.py", "join").weights.to_dict()
    assert weights.pop("logit_divergence") == 1
    assert weights == {"task" if k == "task" else f"fd_cmkd_{k}": v for k, v in default.items()}
    assert set(plan_of("av_digits.py", "join").method.names) == {
        *(name for name in weights if name != "task"),
        "logit_divergence",
    }


def test_join_adds_to_the_preset_before_it(load):
    config = load("av_digits.py", "rkd,join")
    assert set(config.method.methods) == {"rkd", "logit"}
    assert config.weights.to_dict() == dict(
        task=1, rkd_distance=25, rkd_angle=50, logit_divergence=1
    )


def test_plain_config_is_the_design_docs_recipe(load):
    config = load()
    assert (config.optim.name, config.optim.momentum, config.optim.learning_rate) == (
        *("sgd", 0.9),
        0.1,
    )
    assert (config.data.batch_size, config.data.drop_remainder) == (64, True)
    assert (config.train.num_epochs, config.teacher.num_epochs) == (100, 100)
    assert config.weights.to_dict() == dict(task=1, align=1, auxiliary=1, low=10, high=10)


def test_paper_has_no_auxiliary_heads_and_weights_of_one(plan_of, load):
    assert load("av_digits.py", "paper").weights.to_dict() == dict(task=1, align=1, low=1, high=1)
    assert set(plan_of("av_digits.py", "paper").method.names) == {"low", "high", "align"}


def test_heads_are_left_out_with_their_weights(plan_of, load):
    assert set(plan_of("av_digits.py", "no_align").method.names) == {"auxiliary", "low", "high"}
    built = plan_of("av_digits.py", "unsplit,no_auxiliary,no_align")
    assert built.method.names == ("feature",)
    paper, same = (load("av_digits.py", each) for each in ("paper", "weight_1,no_auxiliary"))
    assert paper.to_dict() == same.to_dict()


@pytest.mark.parametrize("presets", ["mse,no_align", "no_align,no_align", "paper,no_auxiliary"])
def test_heads_that_are_not_there_cannot_be_left_out(presets):
    with pytest.raises(ValueError, match=r"needs a method with the term '\w+' before it"):
        DIGITS["get_config"](presets)


def test_smoothed_smooths_what_is_trained_and_not_what_is_measured(plan_of):
    built = plan_of("av_digits.py", "smoothed")
    logits, labels = jnp.array([[2.0, *[0.0] * 9]]), jnp.array([0])
    task = built.harness.task
    plain = np.log(np.exp(2) + 9) - 2
    np.testing.assert_allclose(task.loss(logits, labels), [plain + 0.1 * (2 - 0.2)], rtol=1e-6)
    total, _ = task.sums(logits, labels, jnp.array([True]))["loss"]
    np.testing.assert_allclose(total, plain, rtol=1e-6)
    assert built.method.names == ()


def test_authors_code_selects_on_the_test_split_and_says_so(plan_of):
    built = plan_of("av_digits.py", "authors_code")
    chosen = built.harness.evaluate.describe()
    assert chosen == "highest test accuracy of main or auxiliary_low or auxiliary_high"
    _, rate = built.make_optimizer(num_epochs=100, steps_per_epoch=3)
    assert float(rate(0)) == pytest.approx(0.01)


@pytest.mark.parametrize("presets", ["", "paper", "mismatched"])
def test_teachers_are_taught_by_nothing_but_the_true_labels(presets, plan_of):
    view = plan_of("av_digits.py", presets).teacher_view
    assert "partner" not in view[0]
    assert all(view[row]["labelled"] for row in range(len(view)))


def test_unlabelled_shows_200_labels_of_1500_pairs_and_takes_690_steps(plan_of):
    built = plan_of("av_digits.py", "unlabelled")
    shown = [built.student_view[row]["labelled"] for row in range(len(built.student_view))]
    assert (len(shown), sum(shown)) == (1500, 200)
    assert len(built.teacher_view) == 1500
    per_epoch = pipeline.steps_per_epoch(built.student_view, built.harness.batches)
    assert per_epoch * built.harness.train.num_epochs == 690


def test_supervised_sees_only_the_labelled_pairs_for_as_many_steps(plan_of):
    built = plan_of("av_digits.py", "unlabelled,supervised")
    labels = [built.student_view[row]["label"] for row in range(len(built.student_view))]
    assert np.bincount(labels).tolist() == [20] * 10
    assert len(built.teacher_view) == 1500
    per_epoch = pipeline.steps_per_epoch(built.student_view, built.harness.batches)
    assert per_epoch * built.harness.train.num_epochs == 690


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
        ("method", joined({}), "method 'join' needs at least one method in methods"),
        ("method", joined({"logits": {}}), "^unknown method 'logits'; known: .* mean 'logit'"),
        (
            *("method", joined({"logit": {"temp": 4}})),
            "^unknown option of method 'logit': 'temp'; known: temperature",
        ),
        (
            *("method", joined({"logit": {"temperature": 0.0}})),
            "^method 'logit': temperature must be positive, got 0.0",
        ),
        (
            *("method", joined({"rkd": {"axis_name": "i"}})),
            "^unknown option of method 'rkd': 'axis_name'; known: none",
        ),
        ("method", joined({"mse": {"name": "rkd"}}), "^unknown option of method 'mse': 'name'"),
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
        ("checkpoint.keep_latest", 0, "keep_latest positive, got 0 and 0"),
        ("data.batch_size", 6.5, "section 'data': batch_size must be a whole number, got 6.5"),
        ("data.batch", 64, "unknown option of data set 'av_digits': 'batch'"),
        ("data.drop_unlabelled", True, "drop_unlabelled needs labelled_per_class"),
        ("data.augment", "shift", "section 'data': augment must be keys and values, got 'shift'"),
        ("data.augment", {"image": "shift"}, "data.augment.image must hold a name .*'shift'"),
        ("data.augment", {"image": {"pixels": 1}}, "data.augment.image must hold a name"),
        ("data.augment", {"smell": {}}, "unknown modality of av_digits 'smell'"),
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


@pytest.mark.parametrize("section", plan.SECTIONS)
def test_a_section_that_is_missing_is_named(section, load, tmp_path):
    plain = load().to_dict()
    del plain[section]
    with pytest.raises(ConfigError, match=f"the config lacks the section '{section}'"):
        experiment.run(ml_collections.ConfigDict(plain), tmp_path)
