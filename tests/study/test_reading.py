"""Tests of study files: grids and the controls they name."""

from pathlib import Path

from fdcmkd_jax.study.reading import read

ROOT = Path(__file__).parents[2]


def test_a_grid_makes_one_arm_a_place_of_its_lists_with_the_control_of_that_place():
    arms = read(ROOT / "studies" / "weights.toml").arms
    assert list(arms)[:3] == ["none", "weight_1", "weight_10"]
    assert arms["weight_10"].overrides == {"weights.low": 10.0, "weights.high": 10.0}
    assert arms["weight_10"].label == "FD-CMKD, weight 10"
    assert arms["weight_10"].controls == ("relabelled_10",)
    assert arms["relabelled_10"].presets == "relabelled"
