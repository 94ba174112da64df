"""Whole runs: what they leave, what they select, and that being cut off changes nothing."""

import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import chex
import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
import pytest
from toy import NUM_CLASSES, toy_config, toy_data, toy_net

from fdcmkd_jax import cache, data, experiment, log, loop, methods, models, plan
from fdcmkd_jax.checkpoint import load_weights
from fdcmkd_jax.methods.base import Method, no_params
from fdcmkd_jax.step import Devices
from fdcmkd_jax.tables import ConfigError

TOY_RUN = Path(__file__).with_name("toy_run.py")
TOTAL = 10  # Steps of a toy model: two epochs of five batches.


@pytest.fixture(scope="module", autouse=True)
def toy():
    """Adds the toy data set and backbone to the tables, and keeps runs on two devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.TABLE, "toy", toy_data)
        patch.setitem(models.TABLE, "toy_net", toy_net)
        use_devices(patch, 2)
        yield


def use_devices(patch, count):
    patch.setattr(plan, "Devices", lambda parallel: Devices(parallel, jax.devices()[:count]))


class CountingSplit(list):
    """A split that counts how often it was read."""

    reads = 0

    def __getitem__(self, index):
        CountingSplit.reads += 1
        return super().__getitem__(index)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, toy):
    """An uninterrupted run, its results, and how often the test split was read."""

    def counting(*, data_dir: Path, seed: int, size: int = 44):
        dataset = toy_data(data_dir=data_dir, seed=seed, size=size)
        return dataset._replace(
            splits={**dataset.splits, "test": CountingSplit(dataset.splits["test"])}
        )

    workdir = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.TABLE, "toy", counting)
        return workdir, experiment.run(toy_config(), workdir), CountingSplit.reads


def rows(folder, split):
    return [row for row in log.read_rows(folder / "metrics.jsonl") if row["split"] == split]


def arrays(folder, step):
    """Everything saved at a step."""
    with ocp.StandardCheckpointer() as checkpointer:
        return {
            part: checkpointer.restore((folder / "checkpoints" / str(step) / part).absolute())
            for part in ("weights", "training")
        }


def assert_same_model(found, expected):
    """The same bits in every file two runs left of one model, and in their last checkpoints."""
    assert (found / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    chex.assert_trees_all_equal(arrays(found, TOTAL), arrays(expected, TOTAL))
    with np.load(found / "test.npz") as one, np.load(expected / "test.npz") as two:
        for name in two.files:
            np.testing.assert_array_equal(one[name], two[name])
    one, two = (json.loads((path / "results.json").read_text()) for path in (found, expected))
    one.pop("seconds"), two.pop("seconds")
    assert one == two


def test_a_run_of_another_seed_compiles_nothing_anew(reference, tmp_path, caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        experiment.run(toy_config(seed=1), tmp_path / "seed", with_report=False)
        assert not [text for text in caplog.messages if text.startswith("Compiling")]
        shorter = toy_config(**{"optim.learning_rate": 0.01})
        experiment.run(shorter, tmp_path / "rate", with_report=False)
        assert [text for text in caplog.messages if text.startswith("Compiling")]


def test_run_leaves_what_it_promises(reference):
    workdir, results, _ = reference
    for name in ("config.json", "environment.json", "results.json", "report.html"):
        assert (workdir / name).is_file(), name
    for folder in ("teachers/audio", "teachers/image", "students/audio-to-image"):
        for name in ("checkpoints", "metrics.jsonl", "results.json", "test.npz"):
            assert (workdir / folder / name).exists(), f"{folder}/{name}"
        assert any((workdir / "tensorboard" / folder).iterdir())
    assert results == json.loads((workdir / "results.json").read_text())
    assert set(results["students"]) == {"audio->image", "image->audio"}
    entry = results["students"]["audio->image"]
    assert set(entry["heads"]) == {"align_low", "align_high", "auxiliary_low", "auxiliary_high"}
    assert np.sum(entry["confusion"]) == 27


def test_config_json_shows_values_the_config_left_out(reference):
    config = json.loads((reference[0] / "config.json").read_text())
    assert config["method"]["cutoff"] == 0.5
    assert config["optim"]["momentum"] == 0.9
    assert config["data"]["pairing"] == "true"


def test_log_holds_terms_and_gradient_norms(reference):
    row = rows(reference[0] / "students/audio-to-image", "train")[-1]
    assert row["step"] == TOTAL
    assert set(row["terms"]) == {"task", "low", "high", "align", "auxiliary"}
    assert set(row["gradient_norms"]) == set(row["terms"])
    assert row["learning_rate"] == pytest.approx(1e-4 + (0.05 - 1e-4) * 0.5**0.9)


def test_validation_selects_and_the_selected_checkpoint_is_kept(reference):
    workdir, results, _ = reference
    for folder, entry in (
        ("teachers/audio", results["teachers"]["audio"]),
        ("students/audio-to-image", results["students"]["audio->image"]),
    ):
        found = {row["step"]: row["accuracy"] for row in rows(workdir / folder, "val")}
        assert entry["val"]["accuracy"] == pytest.approx(max(found.values()))
        assert found[entry["selected_step"]] == max(found.values())
        assert (workdir / folder / "checkpoints" / str(entry["selected_step"])).is_dir()


def test_every_model_reads_the_test_split_once(reference):
    _, results, reads = reference
    one_pass = 27 + 1  # A padded batch is made in the likeness of one example.
    assert reads == one_pass * (len(results["teachers"]) + len(results["students"]))


def test_nothing_is_shown_where_the_output_is_no_terminal(tmp_path, capfd):
    experiment.run(quick(), tmp_path, with_report=False)
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[0].startswith("teacher audio: ")


def quick(**changes):
    """One teacher, one student without distillation."""
    config = toy_config(directions=("audio->image",))
    config.method = ml_collections.ConfigDict({"name": "none"})
    config.weights = ml_collections.ConfigDict({"task": 1.0})
    config.update_from_flattened_dict(changes)
    return config


def test_finished_run_is_not_run_again(reference, monkeypatch, capsys):
    workdir, results, _ = reference
    monkeypatch.setattr(loop, "fit", None)
    assert experiment.run(toy_config(), workdir) == results
    assert "is finished" in capsys.readouterr().out


def test_other_config_in_the_same_workdir_is_refused_with_the_difference(reference):
    with pytest.raises(ConfigError, match=r"weights.low: 10.0 there, 3.0 now"):
        experiment.run(toy_config(**{"weights.low": 3.0}), reference[0])


class Cut(Exception):
    """Stands for whatever ends a process."""


def run_until_row(count, config, workdir, monkeypatch):
    """A run that ends where it would have written so many rows of its log."""
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


@pytest.mark.parametrize("cut_after", [3, 9, 17])
def test_run_that_was_cut_off_continues_to_the_same_bits(
    reference, tmp_path, monkeypatch, cut_after
):
    run_until_row(cut_after, toy_config(), tmp_path, monkeypatch)
    experiment.run(toy_config(), tmp_path, with_report=False)
    for folder in ("teachers/audio", "teachers/image", "students/audio-to-image"):
        assert_same_model(tmp_path / folder, reference[0] / folder)


@pytest.mark.parametrize(
    ("method", "terms", "cut_after"),  # Of 18 rows, the student's are the last 9.
    [
        ({"name": "crd", "negatives": 4, "size": 8}, ["contrast"], 13),
        ({"name": "crd", "negatives": 4, "size": 8}, ["contrast"], 15),
        (
            {"name": "c2kd", "stage": "stage2"},
            ["teacher", "teacher_proxy", "student_proxy", "exchange"],
            13,
        ),
    ],
    ids=str,
)
def test_a_memory_and_a_trained_teacher_continue_to_the_same_bits(
    tmp_path, monkeypatch, method, terms, cut_after
):
    config = quick()
    config.method = ml_collections.ConfigDict(method)
    config.weights = ml_collections.ConfigDict({"task": 1.0, **dict.fromkeys(terms, 0.1)})
    experiment.run(config, tmp_path / "whole", with_report=False)
    run_until_row(cut_after, config, tmp_path / "cut", monkeypatch)
    folder = "students/audio-to-image"
    saved = [path.name for path in (tmp_path / "cut" / folder / "checkpoints").iterdir()]
    assert saved
    assert str(TOTAL) not in saved
    experiment.run(config, tmp_path / "cut", with_report=False)
    assert_same_model(tmp_path / "cut" / folder, tmp_path / "whole" / folder)
    saved = arrays(tmp_path / "cut" / folder, TOTAL)["training"]
    if config.method.name == "crd":
        assert saved["memory"]["step"] == TOTAL
        np.testing.assert_array_equal(saved["memory"]["places"]["ids"], 5000 + np.arange(44))
    else:
        weights, _ = load_weights(tmp_path / "cut" / "teachers" / "audio", audio_shapes())
        trained = {"params": saved["params"]["teacher"], "batch_stats": saved["teacher_stats"]}
        for before, now in zip(jax.tree.leaves(weights), jax.tree.leaves(trained), strict=True):
            assert np.any(before != now)


def test_run_killed_at_random_steps_ends_with_the_same_bits(tmp_path):
    def start(workdir, kill_at):
        command = [sys.executable, TOY_RUN, workdir, f"--kill-at={kill_at}"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    whole = start(tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    chance = random.Random(0)
    for _ in range(3):
        killed = start(tmp_path / "killed", chance.randrange(2, int(whole.stdout.split()[-1]) // 2))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert start(tmp_path / "killed", 0).returncode == 0
    for folder in ("teachers/audio", "students/audio-to-image"):
        assert_same_model(tmp_path / "killed" / folder, tmp_path / "whole" / folder)


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
            env={**os.environ, "XLA_FLAGS": flags},
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


def test_run_continues_on_another_number_of_devices(reference, tmp_path, monkeypatch):
    folder = "students/audio-to-image"
    shutil.copytree(reference[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / folder / "checkpoints" / str(TOTAL))
    for name in (f"{folder}/results.json", "results.json", "report.html"):
        (tmp_path / "run" / name).unlink()
    use_devices(monkeypatch, 4)
    results = experiment.run(toy_config(), tmp_path / "run", with_report=False)
    chex.assert_trees_all_close(
        arrays(tmp_path / "run" / folder, TOTAL)["weights"],
        arrays(reference[0] / folder, TOTAL)["weights"],
        rtol=1e-3,
        atol=1e-4,
    )
    assert results["students"]["audio->image"]["last"]["step"] == TOTAL


def test_both_directions_see_the_same_batches(tmp_path, monkeypatch):
    seen = []
    split = Devices.split

    def record(self, batch):
        if "labelled" in batch:
            seen.append(batch["id"].tolist())
        return split(self, batch)

    monkeypatch.setattr(Devices, "split", record)
    config = quick(**{"train.num_epochs": 1, "teacher.num_epochs": 1})
    config.directions = ("audio->image", "image->audio")
    experiment.run(config, tmp_path, with_report=False)
    first_student, second_student = seen[10:15], seen[15:20]
    assert len(seen) == 20
    assert first_student == second_student


def test_shard_map_trains_the_same_run(reference, tmp_path):
    experiment.run(toy_config(**{"train.parallel": "shard_map"}), tmp_path, with_report=False)
    folder = "students/audio-to-image"
    assert_same_model(tmp_path / folder, reference[0] / folder)


def test_teacher_of_an_earlier_run_serves_without_training(reference, tmp_path, monkeypatch):
    config = quick()
    config.teacher.checkpoints.audio = str(reference[0] / "teachers/audio")
    results = experiment.run(config, tmp_path, with_report=False)
    teacher = results["teachers"]["audio"]
    assert teacher["test"] == reference[1]["teachers"]["audio"]["test"]
    assert teacher["loaded_from"].endswith("teachers/audio")
    assert not (tmp_path / "teachers/audio/checkpoints").exists()


@pytest.mark.parametrize(
    ("direction", "pairing"),
    [
        ("audio->image", "true"),
        ("audio->image", "mismatched"),
        ("audio+image->image", "mismatched"),
    ],
)
def test_a_teacher_run_once_teaches_what_one_run_in_every_step_does(
    reference, tmp_path, monkeypatch, direction, pairing
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
    config.data.pairing = pairing
    config.data.drop_remainder = False
    ran, split = [], Devices.split

    def record(self, batch):
        if "labelled" in batch:
            ran.append("teacher" not in batch)
        return split(self, batch)

    monkeypatch.setattr(Devices, "split", record)
    experiment.run(config, tmp_path / "once", with_report=False)
    monkeypatch.setattr(cache, "LIMIT_MB", 0)
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
    assert teacher["selection"] == "none: as drawn, not trained"
    started = []
    start = loop.start

    def record(job, *rest):
        started.append(start(job, *rest))
        raise Cut

    monkeypatch.setattr(loop, "start", record)
    with pytest.raises(Cut):
        experiment.run(quick(), tmp_path / "trained")
    weights = arrays_of(tmp_path / "drawn" / "teachers/audio", 0)
    chex.assert_trees_all_equal(weights, jax.tree.map(np.asarray, started[0].variables))


def test_teacher_of_another_seed_is_refused(reference, tmp_path):
    config = quick(seed=1)
    config.teacher.checkpoints.audio = str(reference[0] / "teachers/audio")
    with pytest.raises(ConfigError, match="trained with seed 0, this run has seed 1"):
        experiment.run(config, tmp_path)


def audio_shapes():
    """The shapes of the weights of a model that reads audio."""
    model = toy_net(NUM_CLASSES)
    like = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jax.numpy.zeros((1, 6, 4, 1)), train=False)
    )
    return {name: like[name] for name in ("params", "batch_stats")}


def test_teacher_loads_without_its_optimiser(reference):
    folder = reference[0] / "teachers/audio"
    like = audio_shapes()
    step = json.loads((folder / "results.json").read_text())["selected_step"]
    shutil.rmtree(folder / "checkpoints" / str(step) / "training")
    weights, found = load_weights(folder, like)
    assert found == step
    chex.assert_trees_all_equal(weights, arrays_of(folder, step))


def arrays_of(folder, step):
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore((folder / "checkpoints" / str(step) / "weights").absolute())


def test_teacher_of_another_shape_is_refused(reference, tmp_path):
    config = quick()
    config.teacher.checkpoints.audio = str(reference[0] / "teachers/image")
    with pytest.raises(ConfigError, match="is not of the model the config names"):
        experiment.run(config, tmp_path)


def test_divergence_names_term_and_step_and_keeps_the_last_good_checkpoint(tmp_path):
    config = quick(**{"optim.learning_rate": 1e18})
    with pytest.raises(loop.NonFiniteError, match=r"became (nan|inf|-inf) at step \d+; last good"):
        experiment.run(config, tmp_path)
    saved = sorted((tmp_path / "teachers/audio/checkpoints").glob("[0-9]*"))
    for folder in saved:
        leaves = jax.tree.leaves(arrays_of(tmp_path / "teachers/audio", folder.name))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_term_that_is_not_finite_is_named_with_its_step(tmp_path, monkeypatch):
    broken = Method(
        init=no_params,
        terms=lambda params, student, teacher, targets: {"odd": student.features[:, 0] / 0.0},
        names=("odd",),
    )
    monkeypatch.setitem(methods.TABLE, "broken", lambda: broken)
    config = quick()
    config.method.name = "broken"
    config.weights.odd = 1.0
    with pytest.raises(loop.NonFiniteError, match=r"the term 'odd' became .*(inf|nan) at step 1;"):
        experiment.run(config, tmp_path)
    assert (tmp_path / "teachers/audio/results.json").is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"data.pairing": "mismatched"},
        {"data.pairing": "relabelled"},
        {"data.labelled_per_class": 4},
        {"data.labelled_per_class": 4, "data.drop_unlabelled": True},
        {"data.drop_remainder": False},
        {"evaluate.select_split": "test", "evaluate.select_heads": ("main", "auxiliary_low")},
    ],
    ids=lambda changes: " ".join(f"{key}={value}" for key, value in changes.items()),
)
def test_settings_run(tmp_path, changes):
    config = toy_config(directions=("audio->image",))
    with config.unlocked():
        config.data.update({"pairing": "true", "labelled_per_class": 0, "drop_unlabelled": False})
        config.data.drop_remainder = True
        config.evaluate.update({"select_split": "val", "select_heads": ("main",)})
    config.train.num_epochs = config.teacher.num_epochs = 1
    config.update_from_flattened_dict(changes)
    results = experiment.run(config, tmp_path, with_report=False)
    entry = results["students"]["audio->image"]
    assert entry["selection"] == (
        "highest test accuracy of main or auxiliary_low"
        if "evaluate.select_split" in changes
        else "highest val accuracy of main"
    )
    steps = {"data.drop_remainder": 6, "data.drop_unlabelled": 1}  # 44 and 12 examples by 8.
    assert entry["last"]["step"] == next((steps[key] for key in changes if key in steps), 5)
