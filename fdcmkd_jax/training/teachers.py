"""A trained teacher, or several frozen teachers that run as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from flax import linen as nn

from fdcmkd_jax.types import Outputs, Params

Modality = str | tuple[str, ...]
"""The modality that a model reads; of several teachers, the modality of each."""


class TeacherGroup(NamedTuple):
    """Several frozen teachers with the part of the ``nn.Module`` interface that a teacher needs.

    Attributes:
        models: The backbones, by the modality they read.
    """

    models: Mapping[str, nn.Module]

    def __hash__(self) -> int:
        return hash(tuple(self.models.items()))

    def apply(self, variables: Params, x: Mapping[str, Any], *, train: bool) -> dict[str, Outputs]:
        """Runs each model on its modality.

        Args:
            variables: ``{"params": {modality: ...}, "batch_stats": {modality: ...}}``.
            x: Inputs by modality, each ``[N, ...]``.
            train: Passed on to the models.

        Returns:
            `Outputs` by modality, in the order of ``models``.
        """
        outputs: dict[str, Any] = {}
        for modality, model in self.models.items():
            model_variables = {kind: trees[modality] for kind, trees in variables.items()}
            outputs[modality] = model.apply(model_variables, x[modality], train=train)
        return outputs


@dataclass(frozen=True)
class Teacher:
    """A trained model, or several as one; frozen unless the method trains it further.

    Attributes:
        model: Its backbone.
        modality: The modality it reads.
        variables: ``{"params", "batch_stats"}`` as host arrays.
    """

    model: nn.Module | TeacherGroup
    modality: Modality
    variables: Params


def join_variables(variables: Mapping[str, Params]) -> dict[str, dict[str, Params]]:
    """Regroups each model's ``{"params", "batch_stats"}`` by kind, as `TeacherGroup` takes them."""
    return {
        kind: {modality: trees[kind] for modality, trees in variables.items()}
        for kind in ("params", "batch_stats")
    }


def modalities(modality: Modality) -> tuple[str, ...]:
    """Returns one modality, or several, as a tuple."""
    return (modality,) if isinstance(modality, str) else modality


def select(inputs: Mapping[str, Any], modality: Modality) -> Any:
    """Selects the input of a teacher.

    Args:
        inputs: Arrays by modality.
        modality: The modality that the teacher reads, or those of several teachers.

    Returns:
        The array of one modality, or a dictionary of those of several.
    """
    if isinstance(modality, str):
        return inputs[modality]
    return {name: inputs[name] for name in modality}


def separate(teacher: Teacher) -> tuple[Teacher, ...]:
    """Separates several teachers that run as one; a single one stays as it is."""
    if not isinstance(teacher.model, TeacherGroup):
        return (teacher,)
    return tuple(
        Teacher(model, name, {kind: trees[name] for kind, trees in teacher.variables.items()})
        for name, model in teacher.model.models.items()
    )
