"""Several frozen teachers that are asked as one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from fdcmkd_jax.types import Outputs, Params

Modality = str | tuple[str, ...]
"""What a model reads; of several teachers, what each reads."""


class Ensemble(NamedTuple):
    """Models by modality, with the part of ``nn.Module`` that a frozen teacher needs.

    Attributes:
        models: The backbones, by the modality they read.
    """

    models: Mapping[str, nn.Module]

    def __hash__(self) -> int:
        return hash(tuple(self.models.items()))

    def apply(self, variables: Params, x: Mapping[str, Any], *, train: bool) -> dict[str, Outputs]:
        """What each model says.

        Args:
            variables: ``{"params": {modality: ...}, "batch_stats": {modality: ...}}``.
            x: By modality, what its model reads, ``[N, ...]``.
            train: As of the models.

        Returns:
            `Outputs` by modality, in the order of ``models``.
        """
        found: dict[str, Any] = {}
        for modality, model in self.models.items():
            own = {kind: trees[modality] for kind, trees in variables.items()}
            found[modality] = model.apply(own, x[modality], train=train)
        return found


def join_variables(variables: Mapping[str, Params]) -> dict[str, dict[str, Params]]:
    """Each model's ``{"params", "batch_stats"}`` by modality, as `Ensemble` takes them."""
    return {
        kind: {modality: trees[kind] for modality, trees in variables.items()}
        for kind in ("params", "batch_stats")
    }


def modalities(modality: Modality) -> tuple[str, ...]:
    """What is read, one or several, as a tuple."""
    return (modality,) if isinstance(modality, str) else modality


def read(example: Mapping[str, Any], modality: Modality) -> Any:
    """What a teacher reads of an example or a batch: from its ``partner`` where there is one.

    Returns:
        The array of one modality, or a dictionary of those of several.
    """
    seen = example.get("partner", example)
    if isinstance(modality, str):
        return seen[modality]
    return {name: seen[name] for name in modality}


def said(outputs: Any) -> dict[str, Any]:
    """``{"logits", "features"}`` of a teacher, or of each of several by modality: plain data."""
    if isinstance(outputs, Mapping):
        return {modality: said(each) for modality, each in outputs.items()}
    return {"logits": outputs.logits, "features": outputs.features}


def from_said(record: Mapping[str, Any]) -> Outputs | dict[str, Outputs]:
    """The `Outputs` that `said` recorded, without maps."""
    if "logits" in record:
        return Outputs(**record)
    return {modality: Outputs(**each) for modality, each in record.items()}
