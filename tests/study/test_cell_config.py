"""Tests of the config of each cell, and of the study files of the repository."""

from pathlib import Path

import pytest

from fdcmkd_jax import losses, methods
from fdcmkd_jax.config import build_method, resolve
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.study.cell_config import cells, check_arms, config_of, teacher_cell
from fdcmkd_jax.study.reading import read
from fdcmkd_jax.study.spec import Cell

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_repository_fits_its_config(path):
    study = read(path)
    check_arms(study)
    assert study.question
    assert study.seeds > 2
    for arm in study.arms:
        settings = resolve(config_of(study, Cell(arm, 0), Path("/study")))
        names = build_method(settings["method"]).names
        losses.check_weights(settings["weights"], ("task", *names))


def test_table_1_holds_every_method_at_its_preset():
    arms = read(ROOT / "studies" / "table1.toml").arms.values()
    # CIRKD relates the pixels of maps, and several teachers have a study of their own.
    others = {"cirkd", "multi_teacher"}
    assert {arm.presets or "fd_cmkd" for arm in arms} == set(methods.names()) - others
    assert not any(arm.overrides for arm in arms)


def test_presets_come_before_overrides_and_the_studys_before_the_arms(change):
    study = change(
        'margin = 1.0\n\n[arms.none]\nlabel = "no distillation"\npresets = "none"',
        'margin = 1.0\npresets = "unlabelled"\noverrides.weights.task = 2\n'
        '[arms.none]\npresets = "none"\noverrides.train.num_epochs = 7',
    )
    assert study.arms["none"].presets == "unlabelled,none"
    config = config_of(study, Cell("none", 2), Path("/study"))
    assert (config.pairing.labelled_per_class, config.method.name) == (20, "none")
    assert (config.seed, config.train.num_epochs, config.weights.task) == (2, 7, 2.0)


def test_all_cells_of_a_seed_share_data_and_the_baselines_teachers(toy):
    config = config_of(toy, Cell("fd_cmkd", 1), Path("/study"))
    assert config.data.data_dir == "/study/data"
    assert config.teacher.checkpoints.to_dict() == {
        name: f"/study/cells/none/seed1/teachers/{name}" for name in ("audio", "image")
    }
    baseline = config_of(toy, Cell("none", 1), Path("/study"))
    assert baseline.teacher.checkpoints.to_dict() == {"audio": "", "image": ""}


def test_an_untrained_teacher_is_not_replaced_by_the_shared_one(change):
    study = change('presets = "relabelled"', 'presets = "random"')
    config = config_of(study, Cell("relabelled", 1), Path("/study"))
    assert config.teacher.num_epochs == 0
    assert config.teacher.checkpoints.to_dict() == {"audio": "", "image": ""}


def test_the_baseline_at_the_configs_own_rate_trains_the_teachers(change):
    study = change("seeds = 3", "seeds = 3\nlearning_rates = [0.03, 0.1]")
    tuned = cells(study)
    assert len(tuned) == 3 * 4 * 2
    assert tuned[0] == Cell("none", 0, 0.1) == teacher_cell(study, 0)
    assert len({cell.folder for cell in tuned}) == len(tuned)
    config = config_of(study, Cell("none", 0, 0.03), Path("/study"))
    assert config.optim.learning_rate == 0.03
    assert config.teacher.checkpoints.audio == "/study/cells/none/rate0.1/seed0/teachers/audio"


def test_arms_that_select_by_different_metrics_are_refused(change):
    overrides = 'presets = "none"\noverrides.task.primary = "macro_f1"'
    with pytest.raises(
        ConfigError, match=r"arms must share the primary metric .*fd_cmkd: accuracy"
    ):
        check_arms(change('presets = "none"', overrides))


def test_two_arms_of_one_config_are_refused(file):
    text = file.read_text(encoding="utf-8") + "\n[arms.again]\noverrides.method.cutoff = 0.5\n"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="arms 'fd_cmkd' and 'again' have the same config"):
        check_arms(read(file))


def test_a_teacher_of_stored_features_is_not_replaced_by_the_shared_one(change):
    study = change(
        'presets = "relabelled"',
        'overrides.teacher.features.audio = "features.npz"',
    )
    config = config_of(study, Cell("relabelled", 1), Path("/study"))
    assert config.teacher.checkpoints.to_dict() == {
        "audio": "",
        "image": "/study/cells/none/seed1/teachers/image",
    }
