"""Tests of a study's numbers as CSV, JSON and Markdown."""

import csv
import io
import json

import pytest
from run_builders import DIRECTIONS, GOOD, put_cells

from fdcmkd_jax.study import tables
from fdcmkd_jax.study.analysis import analyze
from fdcmkd_jax.study.scheduler import record_failure
from fdcmkd_jax.study.spec import Cell


@pytest.fixture
def analysis(toy, tmp_path):
    put_cells(tmp_path, GOOD | {"mismatched": []})
    record_failure(Cell("mismatched", 0), tmp_path, "memory <ran> out")
    return analyze(toy, tmp_path)


def test_csv_has_a_row_for_each_arm_direction_and_seed_finished_or_not(analysis, tmp_path):
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(analysis, tmp_path))))
    assert len(rows) == 4 * 1 * 3
    by_cell = {(row["arm"], row["seed"]): row for row in rows}
    assert float(by_cell["fd_cmkd", "1"]["test"]) == pytest.approx(86.1)
    assert float(by_cell["fd_cmkd", "1"]["last"]) == pytest.approx(76.1)
    assert by_cell["mismatched", "0"]["status"] == "failed"
    assert by_cell["mismatched", "1"]["status"] == "missing"


def test_json_has_cells_statistics_and_verdicts_without_nan(analysis, tmp_path):
    text = json.dumps(tables.as_json(analysis, tmp_path), allow_nan=False)
    tree = json.loads(text)
    assert len(tree["cells"]) == 12
    assert tree["statistics"][DIRECTIONS[0]]["fd_cmkd"]["against_baseline"]["arm"] == "none"
    assert set(tree["verdicts"]) == set(analysis.study.arms)


def test_another_primary_metric_is_named_and_read(toy, tmp_path):
    put_cells(tmp_path, {"none": [80.0, 81.0]})
    for path in tmp_path.glob("cells/*/*/results.json"):
        text = path.read_text().replace('"accuracy": 0.', '"macro_f1": 0.')
        path.write_text(text.replace('"primary": "accuracy"', '"primary": "macro_f1"'))
    analysis = analyze(toy, tmp_path)
    assert analysis.metric == "macro F1"
    text = tables.as_markdown(analysis)
    assert "Test %: test macro F1 of the checkpoint" in text
    assert "| no distillation | 2 | 80.5 ± 6.4 |" in text


def test_markdown_leaves_out_empty_columns(analysis):
    text = tables.as_markdown(analysis)
    assert "| no distillation | 3 | 81.0 ± 2.5 |" in text
    assert "optimistic" not in text
    assert "mismatched, seed 0: memory <ran> out" in text
