"""The README does what it says: its code runs, its commands and links exist."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from fdcmkd_jax import Outputs, state

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def names():
    """What the README's Python blocks define, run in order."""
    found: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), found)
    return found


def test_losses_on_your_own_features_are_finite(names):
    assert jnp.isfinite(names["loss"])
    assert set(names["terms"]) == {"low", "high", "align", "auxiliary"}
    assert all(term.shape == (32,) for term in names["terms"].values())


def test_example_method_gives_the_term_it_names(names):
    method = names["log_feature"]()
    outputs = Outputs(logits=jnp.zeros((4, 10)), features=jnp.ones((4, 128)))
    terms = method.terms({}, outputs, outputs, None)
    assert tuple(terms) == method.names
    assert terms["log_feature"].tolist() == [0.0] * 4


def test_example_data_set_has_what_the_pipeline_reads(names):
    dataset = names["noise"](data_dir=None, seed=0, size=3)
    assert set(dataset.splits) == {"train", "val", "test"}
    assert set(dataset.splits["train"][2]) == {*dataset.modalities, "label", "id"}


def test_example_model_returns_outputs_and_perturbs_its_features(names):
    model = names["linear"](10)
    x = jnp.zeros((2, 32, 13, 1))
    variables = model.init(jax.random.key(0), x, train=False)
    assert variables["perturbations"]["features"].shape == (2, 128)
    outputs = state.abstract_outputs(model, variables, x)
    assert (outputs.logits.shape, outputs.features.shape) == ((2, 10), (2, 128))


def test_commands_name_what_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for script in re.findall(r"\b((?:benchmarks/)?\w+\.py)\b", README):
        if script.startswith(("benchmarks/", "train")):
            assert (ROOT / script).is_file(), script
    for study in re.findall(r"\bstudies/\w+\.toml\b", README):
        assert (ROOT / study).is_file(), study
    for path in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / path).exists(), path


def test_continuous_integration_runs_the_readmes_test_command():
    assert "make test" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
