"""Everything a run needs, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fdcmkd_jax import data
from fdcmkd_jax.config.directions import Direction
from fdcmkd_jax.config.resolve import TeacherOptions
from fdcmkd_jax.data.base import Example, Source
from fdcmkd_jax.methods import Method
from fdcmkd_jax.training.job import RunContext
from fdcmkd_jax.training.optim import Optimizer
from fdcmkd_jax.training.teacher_cache import OutputRows


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, checked.

    Attributes:
        context: The parts that all models of the run share.
        directions: The students to train, with their teachers.
        data_name: The name of the data set in the config.
        dataset: The data set.
        teacher_view: The training split as teachers see it in their own training.
        student_view: The training split as students see it.
        example: The first training example, as evaluation sees it, with every modality.
        models: The backbones by modality.
        model_settings: Their names and options, for the record.
        method: The distillation method.
        weights: One weight per loss term of the students.
        teacher: Options of teachers.
        teacher_optimizers: The optimizer of the teacher of each modality.
        student_optimizers: The optimizer of the student of each modality.
        stored: Rows of stored outputs by the teacher's modality, for each direction that has them
            in place of teachers.
    """

    context: RunContext
    directions: tuple[Direction, ...]
    data_name: str
    dataset: data.Dataset
    teacher_view: Source
    student_view: Source
    example: Example
    models: Mapping[str, nn.Module]
    model_settings: Mapping[str, Mapping[str, Any]]
    method: Method
    weights: Mapping[str, float]
    teacher: TeacherOptions
    teacher_optimizers: Mapping[str, Optimizer]
    student_optimizers: Mapping[str, Optimizer]
    stored: Mapping[Direction, Mapping[str, OutputRows]]

    def input_of(self, modality: str) -> Any:
        """Returns the first training example's input of a modality, as a batch of one."""
        return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[None]), self.example[modality])

    @property
    def teacher_modalities(self) -> tuple[str, ...]:
        """The modalities of all teachers that run, each once."""
        running = (name for name in self.directions if name not in self.stored)
        return tuple(dict.fromkeys(name for direction in running for name in direction.teachers))

    @property
    def teacher_checkpoints(self) -> dict[str, Path]:
        """By modality, the folders of teachers that an earlier run trained."""
        folders = {name: self.teacher.checkpoints.get(name) for name in self.teacher_modalities}
        return {modality: Path(folder) for modality, folder in folders.items() if folder}

    @property
    def teacher_start_checkpoints(self) -> dict[str, Path]:
        """By modality, the folders of models with whose parameters teachers start."""
        folders = {name: self.teacher.start_from.get(name) for name in self.teacher_modalities}
        return {modality: Path(folder) for modality, folder in folders.items() if folder}

    @property
    def start_checkpoints(self) -> dict[str, Path]:
        """By modality, the folders of models with whose parameters students start."""
        start_from = self.context.train.start_from
        folders = {name.student: start_from.get(name.student) for name in self.directions}
        return {modality: Path(folder) for modality, folder in folders.items() if folder}

    @property
    def all_checkpoints(self) -> list[tuple[str, Path]]:
        """Every folder of a model that the run reads, with the modality of the model."""
        kinds = (self.teacher_checkpoints, self.teacher_start_checkpoints, self.start_checkpoints)
        return [item for folders in kinds for item in folders.items()]
