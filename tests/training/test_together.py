"""Models that train together: the same training as one by one."""

import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import NUM_CLASSES, toy_config, toy_net
from run_files import TOTAL, Cut, arrays, assert_same_model, untimed_rows
from step_setting import TASK, WEIGHTS, batches, on

from fdcmkd_jax import experiment, methods
from fdcmkd_jax.data.input import assemble
from fdcmkd_jax.models.resnet import ResNet
from fdcmkd_jax.training import log, optim, state
from fdcmkd_jax.training.devices import AXIS, to_host
from fdcmkd_jax.training.joint_step import make_joint_step
from fdcmkd_jax.training.resume import can_continue_together
from fdcmkd_jax.training.step import TrainStep

DIRECTIONS = {"a": ("audio", "image"), "b": ("image", "audio"), "c": ("audio", "image")}
STUDENTS = ("students/audio-to-image", "students/image-to-audio")


def widened(tree):
    return jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, tree)


class Joint:
    """Students by name that train together under frozen teachers, in float64."""

    def __init__(self, names, example):
        self.model = toy_net(NUM_CLASSES, axis_name=AXIS).clone(dtype=jnp.float64, patches=True)
        method = methods.make("fd_cmkd", axis_name=AXIS)
        inputs = {name: jnp.asarray(example[name]) for name in ("audio", "image")}
        optimizer = optim.make(num_epochs=20, steps_per_epoch=1, learning_rate=0.05)
        self.read = sorted({DIRECTIONS[name][0] for name in names})
        self.states, steps, self.variables = {}, {}, {}
        for name in names:
            teacher, student = DIRECTIONS[name]
            like = state.abstract_variables(self.model, inputs[teacher])
            start = state.create(
                jax.random.key(ord(name)),
                self.model,
                inputs[student],
                method,
                state.abstract_outputs(self.model, like, inputs[teacher]),
                optimizer.transformation,
                NUM_CLASSES,
            )
            self.states[name] = to_host(widened(start))
            steps[name] = TrainStep(self.model, student, method, TASK, WEIGHTS, None, teacher)
        for name in self.read:
            drawn = jax.jit(functools.partial(self.model.init, train=False))(
                jax.random.key(len(name)), inputs[name]
            )
            kept = {kind: drawn[kind] for kind in ("params", "batch_stats")}
            self.variables[name] = to_host(widened(kept))
        self.step = make_joint_step(steps, dict.fromkeys(self.read, self.model))

    def batch(self, examples):
        return assemble(
            examples, task=TASK, modalities=("audio", "image"), teacher_modalities=self.read
        )

    def train(self, stream, devices):
        step = devices.map(self.step, split_arguments=(False, False, True), donate=True)
        states, frozen = devices.replicate((self.states, self.variables))
        for examples in stream:
            states, sums = step(states, frozen, devices.split(self.batch(examples)))
        return to_host(states), to_host(sums)


def test_20_steps_together_equal_20_steps_of_each_alone_in_float64():
    with jax.enable_x64(True):
        stream = [widened(examples) for examples in batches(20, size=8)]
        both = Joint("ab", stream[0])
        states, sums = both.train(stream, on(1))
        for name in "ab":
            alone, alone_sums = Joint(name, stream[0]).train(stream, on(1))
            kernel = alone[name].params["model"]["fc"]["kernel"]
            assert kernel.dtype == np.float64
            assert np.any(kernel != both.states[name].params["model"]["fc"]["kernel"])
            for field in ("params", "batch_stats", "opt_state", "rng", "step"):
                chex.assert_trees_all_close(
                    getattr(states[name], field), getattr(alone[name], field), rtol=0, atol=1e-9
                )
            chex.assert_trees_all_close(sums[name], alone_sums[name], rtol=1e-9)


def test_a_teacher_runs_once_for_all_who_read_it(monkeypatch):
    with jax.enable_x64(True):
        examples = widened(next(batches(1, size=8)))
        joint = Joint("ac", examples)  # Both read the same teacher.
        apply, runs = ResNet.apply, []

        def count(self, variables, x, **options):
            runs.append(options["train"])
            return apply(self, variables, x, **options)

        monkeypatch.setattr(ResNet, "apply", count)
        batch = jax.tree.map(lambda x: np.asarray(x)[None], joint.batch(examples))
        on_one_device = jax.vmap(joint.step, in_axes=(None, None, 0), axis_name=AXIS)
        jax.eval_shape(on_one_device, joint.states, joint.variables, batch)
    assert sorted(runs) == [False, True, True]


def run_until_row(count, config, workdir, monkeypatch):
    write, written = log.Log.write, []

    def write_or_cut(self, row):
        written.append(row)
        if len(written) == count:
            raise Cut
        write(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(log.Log, "write", write_or_cut)
        with pytest.raises(Cut):
            experiment.run(config, workdir, with_report=False)


def one_by_one():
    return toy_config(**{"train.together": False})


@pytest.mark.usefixtures("two_devices")
def test_a_run_one_by_one_leaves_the_files_of_a_run_together(reference, tmp_path):
    experiment.run(one_by_one(), tmp_path, with_report=False)
    for folder in ("teachers/audio", "teachers/image", *STUDENTS):
        expected, actual = (untimed_rows(base / folder) for base in (reference[0], tmp_path))
        assert [row["step"] for row in actual] == [row["step"] for row in expected]
        chex.assert_trees_all_close(
            arrays(tmp_path / folder, TOTAL)["weights"],
            arrays(reference[0] / folder, TOTAL)["weights"],
            rtol=1e-3,
            atol=1e-4,
        )


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("cut_after", [21, 30, 31])  # Of 36 rows; students write the last 18.
def test_a_run_one_by_one_is_continued_together(tmp_path, monkeypatch, cut_after):
    run_until_row(cut_after, one_by_one(), tmp_path, monkeypatch)
    finished = (tmp_path / STUDENTS[0] / "results.json").is_file()
    assert finished == (cut_after > 27)
    before = json.loads((tmp_path / STUDENTS[0] / "results.json").read_text()) if finished else {}
    results = experiment.run(toy_config(), tmp_path, with_report=False)
    assert {entry["last"]["step"] for entry in results["students"].values()} == {TOTAL}
    assert not finished or results["students"]["audio->image"] == before
    for folder in STUDENTS:
        steps = [row["step"] for row in untimed_rows(tmp_path / folder) if row["split"] == "train"]
        assert steps == [2, 4, 5, 6, 8, 10]


@pytest.mark.usefixtures("two_devices")
def test_models_cut_off_between_their_saves_continue_to_the_same_bits(
    reference, tmp_path, monkeypatch
):
    from fdcmkd_jax.training.checkpoint import Checkpoints

    save, saved = Checkpoints.save, []

    def save_or_cut(self, *arguments, **options):
        saved.append(self.directory)
        if len(saved) == 18:  # The second student's third save: 12 are the teachers'.
            raise Cut
        save(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_or_cut)
        with pytest.raises(Cut):
            experiment.run(toy_config(), tmp_path, with_report=False)
    experiment.run(toy_config(), tmp_path, with_report=False)
    for folder in STUDENTS:
        assert_same_model(tmp_path / folder, reference[0] / folder)


@pytest.mark.parametrize(
    ("saved", "together"),
    [
        ([{5, 10}, {5}], True),
        ([{5}, set()], True),
        ([set(), set()], True),
        ([{5, 10}, set()], False),
        ([{15, 20}, {5, 10}], False),
    ],
)
def test_models_without_a_common_step_continue_one_by_one(saved, together):
    assert can_continue_together(saved) == together
