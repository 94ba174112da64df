"""Config files and presets."""

import re
from pathlib import Path

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from config_files import CHOICES, MODULES, joined

from fdcmkd_jax import config as configs
from fdcmkd_jax import methods
from fdcmkd_jax.config import presets as common
from fdcmkd_jax.data.input import steps_per_epoch
from fdcmkd_jax.methods.presets import PRESETS as METHOD_PRESETS
from fdcmkd_jax.registry import ConfigError

DIGITS = MODULES["av_digits.py"]


@pytest.fixture
def plan_of(load, tmp_path):
    def build(*args):
        return configs.build(configs.resolve(load(*args)), tmp_path)

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


@pytest.mark.parametrize("name", MODULES)
def test_a_config_states_every_option_so_that_a_flag_can_change_it(name):
    config = MODULES[name]["get_config"]()
    assert set(leaves(config.to_dict())) >= set(leaves(configs.resolve(config)))


@pytest.mark.parametrize("name", MODULES)
def test_a_flag_changes_one_value(name):
    def sections(tree):
        for value in tree.values():
            if isinstance(value, ml_collections.ConfigDict):
                yield value
                yield from sections(value)

    all_sections = list(sections(MODULES[name]["get_config"]()))
    assert len({id(section) for section in all_sections}) == len(all_sections)


@pytest.mark.parametrize("name", MODULES)
def test_a_config_file_begins_with_its_command(name):
    assert f"fdcmkd-jax train --config=configs/{name} --workdir=" in MODULES[name]["__doc__"]


def test_every_preset_is_described_and_every_described_preset_exists():
    text = DIGITS["__doc__"]
    described = re.findall(r"^    (\w+) {2,}\S", text, flags=re.MULTILINE)
    assert sorted(described) == sorted(DIGITS["PRESETS"])
    mentioned = set(re.findall(r"``(\w+)``", text))
    assert mentioned <= set(common.PRESETS)
    assert mentioned >= set(common.PRESETS) - set(METHOD_PRESETS)


@pytest.mark.parametrize(
    ("former", "present"), [("logit", "kd"), ("feat", "fitnet"), ("similarity", "sp")]
)
def test_a_former_preset_name_fails_with_the_present_one(former, present):
    with pytest.raises(ConfigError, match=f"preset '{former}' was renamed: use '{present}'"):
        DIGITS["get_config"](former)


def test_every_method_that_stands_alone_has_a_preset():
    assert set(METHOD_PRESETS) >= set(methods.names()) - {"join", "multi_teacher"}


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown preset 'papr'; known: afd, authors_code, .*, paper"
    ):
        DIGITS["get_config"]("unlabelled,papr")


def test_one_method_can_be_joined_twice_under_two_names(load):
    config = load("av_digits.py", "join")
    config.method = joined({"cold": {"name": "kd", "temperature": 1.0}, "kd": {}})
    config.weights = {"task": 1.0, "cold_divergence": 1.0, "kd_divergence": 1.0}
    plan = configs.build(configs.resolve(config), Path("unused"))
    assert plan.method.names == ("cold_divergence", "kd_divergence")


def test_a_preset_without_the_one_it_needs_says_what_is_missing(plan_of):
    with pytest.raises(ConfigError, match="drop_unlabelled needs labelled_per_class"):
        plan_of("av_digits.py", "supervised")


def test_presets_apply_in_turn():
    config = DIGITS["get_config"]("paper,weight_1,mismatched")
    assert config.method.auxiliary_heads is False
    assert config.pairing.kind == "mismatched"


def test_the_options_of_joined_methods_are_filled_in(load):
    config = load("av_digits.py", "join")
    config.method = joined({"dist": {}, "kd": {"temperature": 2.0}, "mse": {}})
    assert configs.resolve(config)["method"]["methods"] == {
        "dist": {"name": "dist", "temperature": 1.0},
        "kd": {"name": "kd", "temperature": 2.0},
        "mse": {"name": "mse", "adapter": "auto"},
    }


def test_joining_keeps_the_default_methods_weights(plan_of, load):
    default, weights = load().weights.to_dict(), load("av_digits.py", "join").weights.to_dict()
    assert weights.pop("kd_divergence") == 1
    assert weights == {"task" if k == "task" else f"fd_cmkd_{k}": v for k, v in default.items()}
    assert set(plan_of("av_digits.py", "join").method.names) == {
        *(name for name in weights if name != "task"),
        "kd_divergence",
    }


def test_join_adds_to_the_preset_before_it(load):
    config = load("av_digits.py", "rkd,join")
    assert set(config.method.methods) == {"rkd", "kd"}
    assert config.weights.to_dict() == dict(task=1, rkd_distance=25, rkd_angle=50, kd_divergence=1)


def test_plain_config_is_the_design_docs_recipe(load):
    config = load()
    assert (config.optim.name, config.optim.momentum, config.optim.learning_rate) == (
        *("sgd", 0.9),
        0.1,
    )
    assert (config.input.batch_size, config.input.drop_remainder) == (64, True)
    assert (config.train.num_epochs, config.teacher.num_epochs) == (100, 100)
    assert config.weights.to_dict() == dict(task=1, align=1, auxiliary=1, low=10, high=10)


def test_paper_has_no_auxiliary_heads_and_weights_of_one(plan_of, load):
    assert load("av_digits.py", "paper").weights.to_dict() == dict(task=1, align=1, low=1, high=1)
    assert set(plan_of("av_digits.py", "paper").method.names) == {"low", "high", "align"}


def test_heads_are_left_out_with_their_weights(plan_of, load):
    assert set(plan_of("av_digits.py", "no_align").method.names) == {"auxiliary", "low", "high"}
    built = plan_of("av_digits.py", "unsplit,no_auxiliary,no_align")
    assert built.method.names == ("feature",)
    paper, same = (load("av_digits.py", presets) for presets in ("paper", "weight_1,no_auxiliary"))
    assert paper.to_dict() == same.to_dict()


@pytest.mark.parametrize("presets", ["mse,no_align", "no_align,no_align", "paper,no_auxiliary"])
def test_heads_that_are_not_there_cannot_be_left_out(presets):
    with pytest.raises(ValueError, match=r"needs a method with the term '\w+' before it"):
        DIGITS["get_config"](presets)


def test_smoothed_smooths_what_is_trained_and_not_what_is_measured(plan_of):
    built = plan_of("av_digits.py", "smoothed")
    logits, labels = jnp.array([[2.0, *[0.0] * 9]]), jnp.array([0])
    task = built.context.task
    plain = np.log(np.exp(2) + 9) - 2
    np.testing.assert_allclose(task.loss(logits, labels), [plain + 0.1 * (2 - 0.2)], rtol=1e-6)
    total, _ = task.sums(logits, labels, jnp.array([True]))["loss"]
    np.testing.assert_allclose(total, plain, rtol=1e-6)
    assert built.method.names == ()


def test_authors_code_selects_on_the_test_split_and_says_so(plan_of):
    built = plan_of("av_digits.py", "authors_code")
    chosen = built.context.evaluate.describe("accuracy")
    assert chosen == "highest test accuracy of main or auxiliary_low or auxiliary_high"
    assert float(built.student_optimizers["image"].schedule(0)) == pytest.approx(0.01)


@pytest.mark.parametrize("presets", ["", "paper", "mismatched"])
def test_teachers_learn_from_the_true_labels_alone(presets, plan_of):
    view = plan_of("av_digits.py", presets).teacher_view
    assert "partner" not in view[0]
    assert all(view[row]["labelled"] for row in range(len(view)))


def test_unlabelled_shows_200_labels_of_1500_pairs_and_takes_690_steps(plan_of):
    built = plan_of("av_digits.py", "unlabelled")
    shown = [built.student_view[row]["labelled"] for row in range(len(built.student_view))]
    assert (len(shown), sum(shown)) == (1500, 200)
    assert len(built.teacher_view) == 1500
    per_epoch = steps_per_epoch(built.student_view, built.context.input)
    assert per_epoch * built.context.train.num_epochs == 690


def test_supervised_sees_only_the_labelled_pairs_for_as_many_steps(plan_of):
    built = plan_of("av_digits.py", "unlabelled,supervised")
    labels = [built.student_view[row]["label"] for row in range(len(built.student_view))]
    assert np.bincount(labels).tolist() == [20] * 10
    assert len(built.teacher_view) == 1500
    per_epoch = steps_per_epoch(built.student_view, built.context.input)
    assert per_epoch * built.context.train.num_epochs == 690
