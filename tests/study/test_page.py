"""Tests of a study's page."""

import pytest
from run_builders import GOOD, Tags, make_run, put_cells

from fdcmkd_jax.study import page, write
from fdcmkd_jax.study.analysis import analyze
from fdcmkd_jax.study.cell_config import teacher_cell
from fdcmkd_jax.study.scheduler import record_failure
from fdcmkd_jax.study.spec import Cell


@pytest.fixture
def analysis(toy, tmp_path):
    put_cells(tmp_path, GOOD | {"mismatched": []})
    record_failure(Cell("mismatched", 0), tmp_path, "memory <ran> out")
    return analyze(toy, tmp_path)


def test_the_page_fetches_nothing_and_describes_every_figure(analysis, tmp_path):
    make_run(tmp_path / "run")
    source = tmp_path / teacher_cell(analysis.study, 0).folder
    for name in ("teachers", "results.json", "environment.json"):
        target = source / name
        if target.is_file():
            target.unlink()
        (tmp_path / "run" / name).rename(target)
    text = page.render(analysis, tmp_path)
    tags = Tags(text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags.tags}
    assert all(a.get("src", "data:").startswith("data:") for _, a in tags.tags)
    images = [attributes for tag, attributes in tags.tags if tag == "img"]
    assert len(images) == 4  # Gains, seeds, balance, similarity.
    assert all(len(image["alt"]) > 20 for image in images)
    assert "better than no distillation (+5.0 ± 0.2)" in tags.text
    assert "memory <ran> out" in tags.text
    assert "teacher audio and teacher image" in images[-1]["alt"]


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_a_study_without_a_finished_cell_says_so(toy, tmp_path):
    write(analyze(toy, tmp_path), tmp_path)
    text = Tags((tmp_path / "study.html").read_text(encoding="utf-8")).text
    assert "No cell has finished yet" in text
    assert "No band similarity of the teachers: no seed has finished" in text


@pytest.mark.usefixtures("undrawn")
def test_terms_without_gradient_norms_are_said_not_to_be_measured(toy, tmp_path):
    put_cells(tmp_path, {"none": [80.0], "fd_cmkd": [81.0]}, unmeasured=("high",))
    text = Tags(page.render(analyze(toy, tmp_path), tmp_path)).text
    assert "Gradient norms are not measured for terms that read feature maps" in text
    assert "Without gradient norms: FD-CMKD: high." in text
