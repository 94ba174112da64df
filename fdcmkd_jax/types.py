"""What flows between the parts: batches, model outputs, targets.

Shapes use the field's letters: N examples, D features, K classes, H W C maps, T frames.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

Batch = Mapping[str, Any]
"""One array per modality, plus ``label``, ``labelled``, ``mask`` and ``id``, all with N first.

``partner`` (optional) holds a second set of modalities: what the teacher sees instead of the
example's own, in the controls that break pairs. ``teacher`` (optional) holds what the teacher says
of it, ``logits`` and ``features``, in place of what it would see.
"""

Params = Mapping[str, Any]
"""A tree of trainable arrays."""


@struct.dataclass
class Outputs:
    """What a model says about a batch.

    Attributes:
        logits: Shape ``[N, ..., K]``, at least float32, unnormalised log-probabilities.
        features: Shape ``[N, D]``, ``[N, T, D]`` or ``[N, H, W, C]``, at least float32. In the
            ResNets: the last block before its final ReLU, pooled over H and W.
        maps: Intermediate feature maps by name, each ``[N, h, w, c]``.
    """

    logits: Float[Array, "N *positions K"]
    features: Float[Array, "N *rest D"]
    maps: dict[str, Float[Array, "N h w c"]] = struct.field(default_factory=dict)


@struct.dataclass
class Targets:
    """What a batch says about itself, as far as the student may know.

    Attributes:
        labels: Shape ``[N, ...]``, int32, class indices in ``[0, K)``.
        labelled: Shape ``[N]``. False where the label is hidden from the student.
        mask: Shape ``[N]``. False where the row is padding.
        num_classes: K.
        label_loss: ``(logits, labels) -> [N]``, supplied by the task.
        id: Shape ``[N]``, int32: which example of its split each row is; None if nobody asks.
    """

    labels: Int[Array, "N *positions"]
    labelled: Bool[Array, " N"]
    mask: Bool[Array, " N"]
    num_classes: int = struct.field(pytree_node=False)
    label_loss: Callable[[Array, Array], Array] = struct.field(pytree_node=False)
    id: Int[Array, " N"] | None = None

    def loss(self, logits: Float[Array, "N *positions K"]) -> Float[Array, " N"]:
        """The task's loss of ``logits`` against the labels, one value per example."""
        return self.label_loss(logits, self.labels)

    def with_pseudo_labels(self, teacher_logits: Float[Array, "N *positions K"]) -> "Targets":
        """The same targets with the teacher's prediction wherever the label is hidden.

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


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Widens bfloat16 and float16 to float32; float32 and float64 pass unchanged."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
