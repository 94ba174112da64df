"""The host's stage of the input: a record to raw arrays of fixed shape, augmented in training."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from fdcmkd_jax.data.augment import Augmentation
from fdcmkd_jax.data.base import Example, Source, Transform

_ADDED = ("labelled", "mask", "partner", "teacher")
"""Keys that are not the record's own; see `input.assemble`."""


@dataclass(frozen=True)
class HostStage:
    """Makes the example that models, and perhaps their teachers, read.

    The partner of a broken pair gets the very draws that its example gets: a partner that is
    identical to the example becomes identical arrays.

    Attributes:
        transform: The data set's transform; None where records are examples.
        augmentations: By modality, a further change in training.
        modalities: The modalities that the trained or evaluated models read.
        teacher_modalities: The modalities that teachers read.
    """

    transform: Transform | None
    modalities: Collection[str]
    teacher_modalities: Collection[str] = ()
    augmentations: Mapping[str, Augmentation] = field(default_factory=dict)

    @property
    def changes_training(self) -> bool:
        """Whether training reads anything but the records themselves."""
        return self.transform is not None or bool(self.augmentations)

    def __call__(self, record: Example, random: np.random.Generator | None) -> Example:
        """Makes the example of a record, and of its partner.

        Args:
            record: Of a split or of a `pairing.View`; it may hold a teacher's outputs.
            random: Generator of the augmentation; None in evaluation.
        """
        seeds = None if random is None else random.integers(2**63, size=1 + len(self.augmentations))
        partner = record.get("partner")
        added = {key: record[key] for key in _ADDED if key in record and key != "partner"}
        modalities = set(self.modalities)
        if partner is None:
            modalities.update(self.teacher_modalities)
        elif self.teacher_modalities:
            added["partner"] = self._transformed(partner, seeds, set(self.teacher_modalities))
        return {**self._transformed(record, seeds, modalities), **added}

    def _transformed(
        self, record: Example, seeds: np.ndarray | None, modalities: Collection[str]
    ) -> Example:
        own = {key: value for key, value in record.items() if key not in _ADDED}
        example = own
        if self.transform is not None:
            random = None if seeds is None else np.random.default_rng(seeds[0])
            example = self.transform(own, random, modalities)
        if seeds is None:
            return example
        changed = {
            name: change(example[name], np.random.default_rng(seed))
            for (name, change), seed in zip(self.augmentations.items(), seeds[1:], strict=True)
            if name in modalities
        }
        return {**example, **changed}


class AsEvaluated:
    """A split as evaluation shows it to a model.

    Args:
        source: The split.
        stage: The host's stage.
    """

    def __init__(self, source: Source, stage: HostStage) -> None:
        self._source, self._stage = source, stage

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        return self._stage(self._source[index], None)
