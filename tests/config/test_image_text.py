"""The config files of sets of pictures and texts."""

import pytest
from config_files import MODULES

from fdcmkd_jax import config as configs
from fdcmkd_jax.registry import ConfigError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("pairs")


def crisis(presets, data_dir):
    config = MODULES["crisis_mmd.py"]["get_config"](presets)
    config.data.update(data_dir=str(data_dir), generated=4)
    config.input.batch_size = 8
    return config


@pytest.mark.parametrize("presets", ["", "paper", "mse,mismatched", "informative", "kd,shuffled"])
def test_generated_tweets_build_with_the_presets(presets, data_dir, tmp_path):
    presets = f"smoke,{presets}" if presets else "smoke"
    plan = configs.build(configs.resolve(crisis(presets, data_dir)), tmp_path)
    assert [str(direction) for direction in plan.directions] == ["text->image", "image->text"]
    assert plan.input_of("text")["ids"].shape == (1, 16)
    assert plan.input_of("image")["pixels"].shape == (1, 32, 32, 3)
    assert plan.context.task.num_classes == (2 if "informative" in presets else 5)
    assert set(plan.context.augmented) == {"image"}


def test_text_and_image_have_optimizers_of_their_own(data_dir, tmp_path):
    config = crisis("smoke", data_dir)
    config.optim.by_modality.text.update(learning_rate=5e-5, warmup_steps=100)
    plan = configs.build(configs.resolve(config), tmp_path)
    image, text = (plan.student_optimizers[name].schedule for name in ("image", "text"))
    assert float(image(0)) == pytest.approx(0.05)
    assert float(text(0)) == pytest.approx(5e-7)


def test_the_pretrained_preset_starts_every_model_from_imported_weights():
    config = MODULES["crisis_mmd.py"]["get_config"]("pretrained")
    expected = {"image": "runs/mobilenet", "text": "runs/bert"}
    assert config.teacher.start_from.to_dict() == config.train.start_from.to_dict() == expected
    assert (config.optim.backbone_scale, config.optim.by_modality.text.decay_vectors) == (
        0.1,
        False,
    )


def test_networks_are_the_papers():
    config = MODULES["crisis_mmd.py"]["get_config"]()
    assert config.models.image.name == "mobilenet_v2"
    assert (config.models.text.name, config.models.text.width, config.models.text.depth) == (
        *("bert", 768, 12),
    )


def test_a_set_that_is_not_there_says_what_to_set(tmp_path, data_dir):
    config = crisis("smoke", data_dir)
    config.data.update(generated=0, data_dir="")
    with pytest.raises(ConfigError, match=r"crisis_mmd needs a tokenizer: set data\.tokenizer"):
        configs.build(configs.resolve(config), tmp_path)
