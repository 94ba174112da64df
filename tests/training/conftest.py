"""A setting that several files of tests share."""

import pytest
from step_setting import Setting, on


@pytest.fixture(scope="session")
def two():
    """A setting on two devices, compiled once for all tests that use it."""
    return Setting(on(2))
