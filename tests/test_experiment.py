"""Whole runs: their files, their selection, their settings."""

import json
import logging

import jax
import numpy as np
import pytest
from builders import toy_config
from run_files import TOTAL, quick, rows

from fdcmkd_jax import experiment
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import loop

pytestmark = pytest.mark.usefixtures("two_devices")


def test_a_run_of_another_seed_compiles_nothing_anew(tmp_path, caplog):
    def run(name, **changes):
        config = toy_config(directions=("audio->image",), **changes)
        experiment.run(config, tmp_path / name, with_report=False)

    run("first")
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        run("seed", seed=1)
        assert not [text for text in caplog.messages if text.startswith("Compiling")]
        run("rate", **{"optim.learning_rate": 0.01})
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
    assert config["pairing"]["kind"] == "true"


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
        scores = {row["step"]: row["accuracy"] for row in rows(workdir / folder, "val")}
        assert entry["val"]["accuracy"] == pytest.approx(max(scores.values()))
        assert scores[entry["selected_step"]] == max(scores.values())
        assert (workdir / folder / "checkpoints" / str(entry["selected_step"])).is_dir()


def test_every_model_reads_the_test_split_once(reference):
    _, results, reads = reference
    assert reads == 27 * (len(results["teachers"]) + len(results["students"]))


def test_nothing_is_shown_where_the_output_is_no_terminal(tmp_path, capfd):
    experiment.run(quick(), tmp_path, with_report=False)
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[0].startswith("teacher audio: ")


def test_finished_run_is_not_run_again(reference, monkeypatch, capsys):
    workdir, results, _ = reference
    monkeypatch.setattr(loop, "fit", None)
    assert experiment.run(toy_config(), workdir) == results
    assert "is finished" in capsys.readouterr().out


def test_other_config_in_the_same_workdir_is_refused_with_the_difference(reference):
    with pytest.raises(ConfigError, match=r"weights.low: 10.0 there, 3.0 now"):
        experiment.run(toy_config(**{"weights.low": 3.0}), reference[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"pairing.kind": "mismatched"},
        {"pairing.kind": "relabelled"},
        {"pairing.labelled_per_class": 4},
        {"pairing.labelled_per_class": 4, "pairing.drop_unlabelled": True},
        {"input.drop_remainder": False},
        {"evaluate.select_split": "test", "evaluate.select_heads": ("main", "auxiliary_low")},
    ],
    ids=lambda changes: " ".join(f"{key}={value}" for key, value in changes.items()),
)
def test_settings_run(tmp_path, changes):
    config = toy_config(directions=("audio->image",))
    with config.unlocked():
        config.pairing.update({"kind": "true", "labelled_per_class": 0, "drop_unlabelled": False})
        config.input.drop_remainder = True
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
    steps = {"input.drop_remainder": 6, "pairing.drop_unlabelled": 1}  # 44 and 12 examples by 8.
    assert entry["last"]["step"] == next((steps[key] for key in changes if key in steps), 5)
