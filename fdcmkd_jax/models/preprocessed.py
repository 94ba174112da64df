"""A backbone behind the preprocessing that makes its input of raw arrays."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool

from fdcmkd_jax.types import Outputs


class Preprocessed(nn.Module):
    """Runs a function on raw arrays, then a backbone on its result, both on the device.

    Its parameters and statistics are those of the backbone, under the same names: either can load
    what the other saved.

    Attributes:
        model: The backbone.
        function: ``{name: [N, ...]} -> [N, ...]``, without parameters.
    """

    model: nn.Module
    function: Callable[[Any], Array]

    def setup(self) -> None:
        """Shares the backbone's scope."""
        nn.share_scope(self, self.model)

    def __call__(self, x: Any, *, train: bool, mask: Bool[Array, " N"] | None = None) -> Outputs:
        """Runs function and backbone.

        Args:
            x: Raw arrays by name, each ``[N, ...]``.
            train: Passed on to the backbone.
            mask: Passed on to the backbone.
        """
        return self.model(self.function(x), train=train, mask=mask)
