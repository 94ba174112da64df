"""The config files of sets of clips."""

import re

import pytest
from config_files import MODULES

from fdcmkd_jax import config as configs
from fdcmkd_jax.registry import ConfigError

NAMES = ("ave.py", "crema_d.py", "vggsound50.py")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("presets", ["smoke", "smoke,paper", "smoke,authors_code,mismatched"])
def test_a_set_of_generated_clips_builds_with_the_presets(name, presets, data_dir, tmp_path):
    config = MODULES[name]["get_config"](presets)
    config.data.update(data_dir=str(data_dir), generated=2)
    config.input.batch_size = 8
    plan = configs.build(configs.resolve(config), tmp_path)
    assert [str(direction) for direction in plan.directions] == ["audio->visual", "visual->audio"]
    assert plan.input_of("audio")["waveform"].shape == (1, 16_384)
    assert set(plan.context.augmented) >= {"visual"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_is_the_papers(name):
    config = MODULES[name]["get_config"]()
    assert (config.models.audio.name, config.models.visual.depth) == ("resnet", 18)
    assert (config.optim.learning_rate, config.optim.end_learning_rate) == (0.01, 1e-4)
    assert (config.optim.power, config.optim.momentum, config.optim.weight_decay) == (0.9, 0.9, 0)
    assert (config.input.batch_size, config.train.num_epochs) == (64, 100)


@pytest.mark.parametrize("name", NAMES)
def test_the_text_of_a_config_states_commands_presets_and_published_numbers(name):
    text = MODULES[name]["__doc__"]
    for command in ("data check", "train", "study studies/paper_table1", "study studies/table2"):
        assert f"fdcmkd-jax {command}" in text
    assert re.findall(r"^    (\w+) {2,}\S", text, flags=re.MULTILINE) == ["smoke"]
    assert sorted(MODULES[name]["PRESETS"]) == ["smoke"]
    assert re.search(r"without\s+distillation\s+\d\d\.\d\s+and\s+\d\d\.\d, FD-CMKD \d\d\.\d", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_set_that_is_not_there_says_what_to_set(name, tmp_path):
    config = MODULES[name]["get_config"]()
    with pytest.raises(ConfigError, match=r"must be downloaded by hand: set data.manual_dir to"):
        configs.build(configs.resolve(config), tmp_path)
    config.data.manual_dir = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there is no folder"):
        configs.build(configs.resolve(config), tmp_path)
