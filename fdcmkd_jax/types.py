"""Data that flow between the parts: batches, model outputs, targets.

Shapes use the field's letters: N examples, D features, K classes, H W C maps, T frames.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

Params = Mapping[str, Any]
"""A tree of trainable arrays."""


@struct.dataclass
class Outputs:
    """A model's predictions and features for a batch.

    Attributes:
        logits: Shape ``[N, ..., K]``, at least float32, unnormalized log-probabilities.
        features: Shape ``[N, D]``, ``[N, T, D]`` or ``[N, H, W, C]``, at least float32. In the
            ResNets: the last block before its final ReLU, pooled over H and W.
        maps: Intermediate feature maps by name, each ``[N, h, w, c]``.
    """

    logits: Float[Array, "N *positions K"]
    features: Float[Array, "N *rest D"]
    maps: dict[str, Float[Array, "N h w c"]] = struct.field(default_factory=dict)


def count_once(labels: Int[Array, "N *positions"]) -> Float[Array, " N"]:
    """Returns a weight of 1 for each example, shape ``[N]``, float32."""
    return jnp.ones(labels.shape[:1], jnp.float32)


@struct.dataclass
class Targets:
    """Labels of a batch, and which of them the student may read.

    Attributes:
        labels: Shape ``[N, ...]``, int32, class indices in ``[0, K)``.
        labelled: Shape ``[N]``. False where the label is hidden from the student.
        mask: Shape ``[N]``. False where the row is padding.
        num_classes: K.
        label_loss: ``(logits, labels) -> [N]``, supplied by the task.
        label_weight: ``labels -> [N]``, supplied by the task: the weight of each example in the
            mean of a term that reads labels.
        id: Shape ``[N]``, int32, the id of each row's example in its split; None if not needed.
    """

    labels: Int[Array, "N *positions"]
    labelled: Bool[Array, " N"]
    mask: Bool[Array, " N"]
    num_classes: int = struct.field(pytree_node=False)
    label_loss: Callable[[Array, Array], Array] = struct.field(pytree_node=False)
    label_weight: Callable[[Array], Array] = struct.field(pytree_node=False, default=count_once)
    id: Int[Array, " N"] | None = None

    def loss(self, logits: Float[Array, "N *positions K"]) -> Float[Array, " N"]:
        """The task's loss of ``logits`` against the labels, one value per example."""
        return self.label_loss(logits, self.labels)

    @property
    def row_weights(self) -> Float[Array, " N"]:
        """The weight of each row in the mean of a term that reads labels; 0 if it does not count.

        Padding and hidden labels do not count.
        """
        return jnp.where(self.mask & self.labelled, self.label_weight(self.labels), 0)

    def with_pseudo_labels(self, teacher_logits: Float[Array, "N *positions K"]) -> "Targets":
        """Replaces each hidden label by the teacher's prediction.

        Args:
            teacher_logits: Shape ``[N, ..., K]``.

        Returns:
            Targets in which every example is labelled; shown labels are kept.
        """
        predicted = jnp.argmax(teacher_logits, axis=-1).astype(self.labels.dtype)
        shown = self.labelled.reshape(-1, *[1] * (self.labels.ndim - 1))
        return dataclasses.replace(
            self,
            labels=jnp.where(shown, self.labels, predicted),
            labelled=jnp.ones_like(self.labelled),
        )


@struct.dataclass
class Batch:
    """One batch, as the train and evaluation steps read it.

    Attributes:
        inputs: Model inputs by modality, each ``[N, ...]``, for the model that is trained or
            evaluated.
        teacher_inputs: Inputs of the teachers by modality, each ``[N, ...]``; where pairs are
            broken, those of other examples. Empty if no teacher runs.
        teacher_outputs: Outputs of frozen teachers by modality, computed earlier; None where all
            run in the step, or there is none. A single student's step reads its teacher's alone.
        targets: Labels, their visibility and the padding mask.
    """

    inputs: Mapping[str, Array]
    teacher_inputs: Mapping[str, Array]
    teacher_outputs: Any
    targets: Targets


def to_record(outputs: Any) -> dict[str, Any]:
    """Returns the logits and features of `Outputs` as a dictionary, which data pipelines can stack.

    Args:
        outputs: `Outputs`, or those of several teachers by modality.

    Returns:
        ``{"logits", "features"}``, by modality if there are several; maps are left out.
    """
    if isinstance(outputs, Mapping):
        return {modality: to_record(part) for modality, part in outputs.items()}
    return {"logits": outputs.logits, "features": outputs.features}


def from_record(record: Mapping[str, Any]) -> Outputs | dict[str, Outputs]:
    """Makes `Outputs`, without maps, from a dictionary that `to_record` returned.

    Stored features may come without logits, which are None then.
    """
    if "features" in record:
        return Outputs(**{"logits": None, **record})
    return {modality: Outputs(**{"logits": None, **part}) for modality, part in record.items()}


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Widens bfloat16 and float16 to float32; float32 and float64 pass unchanged."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
