"""The command line of interop, and what its tests compare."""

from fdcmkd_jax import models
from fdcmkd_jax.interop import __main__ as command
from fdcmkd_jax.interop import catalog

K = 3
TINY = {"name": "resnet_tiny"}


def arrays(model):
    return {key: value.detach().numpy() for key, value in model.state_dict().items()}


def like(num_classes=K, channels=1):
    return catalog.abstract_variables(models.make(**TINY, num_classes=num_classes), channels)


def run(*argv, expect=0):
    """Runs the command in this process and checks its exit status."""
    assert command.main([str(word) for word in argv]) == expect


def refusal(capsys, *argv):
    """The one line a mistake gets."""
    run(*argv, expect=2)
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    return error
