"""The pure train step.

A step sees one device's share of the batch. Everything it returns about the whole batch is a sum
over devices. A loss is a global weighted sum over the global sum of the weights, so the way the
batch falls on the devices, and the share of it that is padding, changes nothing beyond rounding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array

from fdcmkd_jax import losses
from fdcmkd_jax.collectives import pmean, psum
from fdcmkd_jax.methods import Method
from fdcmkd_jax.tasks import Task, metrics
from fdcmkd_jax.training.devices import AXIS
from fdcmkd_jax.training.state import TrainState, abstract_init
from fdcmkd_jax.training.teachers import Modality, TeacherGroup, select
from fdcmkd_jax.types import Batch, Outputs, Params, Targets

Sums = dict[str, Any]
"""(sum, count) pairs by name, nested."""


@dataclass(frozen=True)
class TrainStep:
    """The fixed parts of a train step.

    Attributes:
        student: The backbone to train.
        student_input: The modality it reads.
        method: Supplies the terms beside the task's.
        task: Supplies the loss of the labels (the term ``task``).
        weights: One weight for ``task`` and for each of the method's terms.
        teacher: The backbone that teaches, or several as one; None to train without one.
        teacher_input: The modality it reads, or those of several teachers.
        padded: Batches may hold rows of padding; else models need no mask for their statistics,
            which makes the step a smaller program.
    """

    student: nn.Module
    student_input: str
    method: Method
    task: Task
    weights: Mapping[str, float]
    teacher: nn.Module | TeacherGroup | None
    teacher_input: Modality
    padded: bool = True

    def __call__(
        self, state: TrainState, teacher_variables: Params, batch: Batch
    ) -> tuple[TrainState, Sums]:
        """Takes one optimization step; see `make_train_step`."""
        targets = batch.targets
        key = jax.random.wrap_key_data(state.rng)
        key = jax.random.fold_in(jax.random.fold_in(key, state.step), lax.axis_index(AXIS))
        frozen_outputs = self._frozen_outputs(teacher_variables, batch)

        def shares(params: Params, shift: Array) -> tuple[dict[str, Array], Any]:
            """Returns each term's [N] shares of its own global mean, and the new statistics."""
            outputs, batch_stats = self._student_outputs(params, shift, state, batch, key)
            teacher_outputs, teacher_stats = frozen_outputs, state.teacher_stats
            if self.method.needs.trained_teacher:
                teacher_outputs, teacher_stats = self._trained_outputs(params, state, batch, key)
            method_terms, memory = self.method.terms(
                params["method"], state.memory, outputs, teacher_outputs, targets
            )
            terms = {"task": targets.loss(outputs.logits), **method_terms}
            row_weights = self._row_weights(targets, teacher_outputs)
            totals = psum({name: jnp.sum(rows) for name, rows in row_weights.items()}, AXIS)
            term_shares = {
                name: _share(term, row_weights[name], totals[name]) for name, term in terms.items()
            }
            counted = {name: total > 0 for name, total in totals.items()}
            return term_shares, (outputs, batch_stats, teacher_stats, memory, counted)

        shift = _zero_shift(self.student, batch.inputs[self.student_input])
        term_shares, pull_back, (outputs, *statistics, memory, counted) = jax.vjp(
            shares, state.params, shift, has_aux=True
        )
        loss, cotangents = jax.value_and_grad(
            lambda terms: jnp.sum(losses.combine(terms, self.weights))
        )(term_shares)
        gradients = psum(pull_back(cotangents)[0], AXIS)
        rows = jax.vmap(lambda alone: pull_back(alone)[1])(_one_at_a_time(cotangents))
        on_features = dict(zip(cotangents, rows, strict=True))
        progress = self.task.progress(
            outputs.logits, targets.labels, targets.mask & targets.labelled
        )
        sums = self._sums(loss, term_shares, on_features, progress, counted)
        # Equal on every device already where BatchNorm is synchronized.
        batch_stats, teacher_stats = pmean(statistics, AXIS)
        state = state.apply_gradients(
            grads=gradients, batch_stats=batch_stats, teacher_stats=teacher_stats, memory=memory
        )
        return state, sums

    def select_outputs(self, outputs: Mapping[str, Any]) -> Any:
        """Selects what the method reads of frozen teachers' outputs by modality."""
        if not self.teacher_input or self.method.needs.trained_teacher:
            return None
        return select(outputs, self.teacher_input)

    def _frozen_outputs(self, teacher_variables: Params, batch: Batch) -> Any:
        """Returns the outputs of a frozen teacher; None if there is none."""
        if batch.teacher_outputs is not None:
            return batch.teacher_outputs
        if self.teacher is None or self.method.needs.trained_teacher:
            return None
        x = select(batch.teacher_inputs, self.teacher_input)
        return lax.stop_gradient(self.teacher.apply(teacher_variables, x, train=False))

    def _row_weights(self, targets: Targets, teacher_outputs: Any) -> dict[str, Array]:
        """Returns the weight of each row in each term's mean, ``[N]``; 0 where it does not count.

        A row counts by the task's weight of its label where the term reads labels, and else once.
        """
        weights = dict.fromkeys(self.method.names, targets.mask.astype(jnp.float32))
        weights |= dict.fromkeys(("task", *self.method.label_terms), targets.row_weights)
        if self.method.pseudo_label_terms:
            several = isinstance(teacher_outputs, Mapping)
            teachers = list(teacher_outputs.values()) if several else [teacher_outputs]
            known = [targets.with_pseudo_labels(teacher.logits) for teacher in teachers]
            mean = jnp.mean(jnp.stack([labels.row_weights for labels in known]), axis=0)
            weights |= dict.fromkeys(self.method.pseudo_label_terms, mean)
        return weights

    def _student_outputs(
        self, params: Params, shift: Array, state: TrainState, batch: Batch, key: Array
    ) -> tuple[Outputs, Params]:
        """Runs the student in training mode; returns its outputs and new statistics."""
        outputs, updates = self.student.apply(
            {
                "params": params["model"],
                "batch_stats": state.batch_stats,
                "perturbations": {"features": shift},
            },
            batch.inputs[self.student_input],
            train=True,
            mask=self._mask(batch),
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return outputs, updates.get("batch_stats", {})

    def _trained_outputs(
        self, params: Params, state: TrainState, batch: Batch, key: Array
    ) -> tuple[Outputs, Params]:
        """Runs a teacher that is trained; returns its outputs and new statistics."""
        assert isinstance(self.teacher, nn.Module), "checked by make_train_step"
        outputs, updates = self.teacher.apply(
            {"params": params["teacher"], "batch_stats": state.teacher_stats},
            select(batch.teacher_inputs, self.teacher_input),
            train=True,
            mask=self._mask(batch),
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.fold_in(key, 1)},
        )
        return outputs, updates.get("batch_stats", {})

    def _mask(self, batch: Batch) -> Array | None:
        return batch.targets.mask if self.padded else None

    def _sums(
        self,
        loss: Array,
        term_shares: Mapping[str, Array],
        on_features: Mapping[str, Array],
        progress: Mapping[str, metrics.SumCount],
        counted: Mapping[str, Array],
    ) -> Sums:
        """Sums a step's metrics over the devices."""
        totals = psum(
            {
                "loss": loss,
                "terms": {name: jnp.sum(share) for name, share in term_shares.items()},
                "squares": {
                    name: jnp.sum(jnp.square(gradient))
                    for name, gradient in on_features.items()
                    if name not in self.method.map_terms
                },
                "progress": progress,
            },
            AXIS,
        )
        one = jnp.ones(())
        return {
            "loss": (totals["loss"], one),
            "progress": totals["progress"],
            # A batch without a labelled example measures no term that reads labels: count 0.
            "terms": {
                name: (mean, counted[name].astype(mean.dtype))
                for name, mean in totals["terms"].items()
            },
            "gradient_norms": {
                name: (jnp.sqrt(square), one) for name, square in totals["squares"].items()
            },
        }


def make_train_step(
    student: nn.Module,
    student_input: str,
    method: Method,
    task: Task,
    weights: Mapping[str, float],
    teacher: nn.Module | TeacherGroup | None = None,
    teacher_input: Modality = (),
    *,
    padded: bool = True,
) -> Callable[[TrainState, Params, Batch], tuple[TrainState, Sums]]:
    """Builds one optimization step.

    Args:
        student: The backbone to train.
        student_input: The modality it reads.
        method: Supplies the terms beside the task's.
        task: Supplies the loss of the labels (the term ``task``).
        weights: One weight for ``task`` and for each of the method's terms.
        teacher: The backbone that teaches, or several as one, frozen unless the method trains it;
            None to train without one. It does not run where ``batch.teacher_outputs`` is given.
        teacher_input: The modality it reads, from ``batch.teacher_inputs``.
        padded: Whether batches may hold rows of padding; see `TrainStep`.

    Returns:
        ``step(state, teacher_variables, batch) -> (state, sums)``, to be mapped over `AXIS` with
        `Devices.map`. ``sums`` holds (sum, count) pairs: ``loss`` (weighted total), ``progress``
        (the task's), ``terms`` (unweighted), ``gradient_norms`` (L2 norm over the whole batch of
        each weighted term's gradient on the student's features; terms that read the student's maps
        have none).

    Raises:
        ValueError: If the weights do not name exactly the terms, or a method that trains its
            teacher has none, or several.
    """
    if method.needs.trained_teacher and not isinstance(teacher, nn.Module):
        raise ValueError("a method that trains its teacher needs exactly one teacher.")
    losses.check_weights(weights, ("task", *method.names))
    fixed = TrainStep(
        student, student_input, method, task, dict(weights), teacher, teacher_input, padded
    )

    def train_step(state: TrainState, teacher_variables: Params, batch: Batch) -> Any:
        return fixed(state, teacher_variables, batch)

    return train_step


def _share(term: Array, row_weights: Array, total: Array) -> Array:
    """Returns each row's share of a term's global mean, ``[N]``; 0 if no row counts."""
    weighted = jnp.where(row_weights > 0, row_weights * term, 0)
    return weighted / jnp.where(total > 0, total, 1)


def _one_at_a_time(cotangents: Mapping[str, Array]) -> dict[str, Array]:
    """Returns ``[T, N]`` a term: in row t all but the t-th term's cotangents are zero."""
    rows = enumerate(cotangents.items())
    return {
        name: jnp.zeros((len(cotangents), *value.shape), value.dtype).at[row].set(value)
        for row, (name, value) in rows
    }


def _zero_shift(model: nn.Module, x: Any) -> Array:
    """Returns zeros of the shape of the model's ``features`` perturbation for this batch."""
    # Of one example, whose shapes are known since the state was created.
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), x)
    shift = abstract_init(model, one)["perturbations"]["features"]
    return jnp.zeros((jax.tree.leaves(x)[0].shape[0], *shift.shape[1:]), shift.dtype)
