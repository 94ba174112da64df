"""Configs whose data are prepared once."""

import pytest
from config_files import MODULES


@pytest.fixture
def load(digits_dir):
    """Loads a config whose data are already prepared, reading no more of them than is needed."""

    def load(name="av_digits.py", presets=""):
        get_config = MODULES[name]["get_config"]
        config = get_config(presets) if presets else get_config()
        config.data.data_dir, config.input.in_memory = str(digits_dir), False
        return config

    return load
