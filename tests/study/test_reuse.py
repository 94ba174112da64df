"""Tests of workdirs that another study or another config has used."""

import dataclasses
import json
from pathlib import Path

import pytest

from fdcmkd_jax.config import resolve
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.study.cell_config import cells, config_of
from fdcmkd_jax.study.reuse import check_same_config, check_same_study, copy_finished_cells
from fdcmkd_jax.study.spec import Cell


def test_arms_seeds_and_words_may_be_added_to_a_workdir(toy, change, tmp_path):
    check_same_study(toy, tmp_path)
    more = change("seeds = 3", 'seeds = 9\narms.kd = { presets = "kd", label = "L" }')
    check_same_study(dataclasses.replace(more, title="Other words"), tmp_path)
    with pytest.raises(ConfigError, match=r"arms\.kd: .* there, None now"):
        check_same_study(toy, tmp_path)


def test_a_finished_cell_of_another_config_is_refused_with_the_difference(toy, tmp_path):
    cell = Cell("fd_cmkd", 0)
    config = config_of(toy, cell, Path("/elsewhere"))
    folder = tmp_path / cell.folder
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(resolve(config)))
    check_same_config(toy, cell, tmp_path)
    config.evaluate.batch_size, config.input.num_threads = 7, 3
    (folder / "config.json").write_text(json.dumps(resolve(config)))
    check_same_config(toy, cell, tmp_path)
    config.weights.low = 3.0
    (folder / "config.json").write_text(json.dumps(resolve(config)))
    with pytest.raises(ConfigError, match=r"weights\.low: 3\.0 there, 10\.0 now"):
        check_same_config(toy, cell, tmp_path)


def test_a_folder_without_finished_cells_cannot_be_reused(toy, tmp_path):
    with pytest.raises(ConfigError, match="holds no finished cell of a study to reuse"):
        copy_finished_cells(toy, cells(toy), tmp_path / "study", tmp_path)
