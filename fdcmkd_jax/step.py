"""The pure train and eval steps, and the only place that names how they are mapped over devices.

A step sees one device's share of the batch. Everything it returns about the whole batch is a sum
over devices; a loss is a global sum over a global count, so how the batch falls on the devices, and
how much of it is padding, changes nothing beyond rounding.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from fdcmkd_jax import losses, metrics, teachers
from fdcmkd_jax.methods import Method
from fdcmkd_jax.state import TrainState, abstract_init
from fdcmkd_jax.tables import ConfigError
from fdcmkd_jax.tasks import Task
from fdcmkd_jax.teachers import Ensemble, Modality
from fdcmkd_jax.types import Batch, Params

AXIS = "batch"
"""The mapped axis over which steps sum and BatchNorm synchronises."""

PROGRAMS = 32
"""Compiled steps that are kept for later runs in the same process."""

Sums = dict[str, Any]
"""(sum, count) pairs by name, nested."""


def make_train_step(
    student: nn.Module,
    student_input: str,
    method: Method,
    task: Task,
    weights: Mapping[str, float],
    teacher: nn.Module | Ensemble | None = None,
    teacher_input: Modality = (),
) -> Callable[[TrainState, Params, Batch], tuple[TrainState, Sums]]:
    """Builds one optimisation step.

    Args:
        student: The backbone to train.
        student_input: The modality it reads.
        method: Supplies the terms beside the task's.
        task: Supplies labels and their loss (the term ``task``).
        weights: One weight for ``task`` and for each of the method's terms.
        teacher: The backbone that teaches, or several as one, frozen unless the method trains it;
            None to train without one.
        teacher_input: What it reads, from ``batch["partner"]`` where there is one. The teacher is
            not run where ``batch["teacher"]`` holds its outputs already.

    Returns:
        ``step(state, teacher_variables, batch) -> (state, sums)``, to be mapped over `AXIS` with
        `Devices.map`. ``sums`` holds (sum, count) pairs: ``loss`` (weighted total), ``accuracy``,
        ``terms`` (unweighted), ``gradient_norms`` (L2 norm over the whole batch of each weighted
        term's gradient on the student's features).

    Raises:
        ValueError: If the weights do not name exactly the terms, or there is no teacher to train.
    """
    if method.trains_teacher and not isinstance(teacher, nn.Module):
        raise ValueError("a method that trains its teacher needs one, and one only.")
    names = ("task", *method.names)
    losses.check_weights(weights, names)
    label_terms = {"task", *method.label_terms}

    def step(state: TrainState, teacher_variables: Params, batch: Batch) -> Any:
        targets = task.targets(batch)
        key = jax.random.wrap_key_data(state.rng)
        key = jax.random.fold_in(jax.random.fold_in(key, state.step), lax.axis_index(AXIS))
        teacher_outputs: Any = None
        if "teacher" in batch:
            teacher_outputs = teachers.from_said(batch["teacher"])
        elif teacher is not None and not method.trains_teacher:
            seen = teachers.read(batch, teacher_input)
            teacher_outputs = lax.stop_gradient(teacher.apply(teacher_variables, seen, train=False))

        counted = {
            name: targets.mask & targets.labelled if name in label_terms else targets.mask
            for name in names
        }
        counts = lax.psum({name: jnp.sum(rows) for name, rows in counted.items()}, AXIS)

        def contributions(params: Params, shift: Array) -> tuple[dict[str, Array], Any]:
            """Each term's [N] shares of its own global mean."""
            outputs, updates = student.apply(
                {
                    "params": params["model"],
                    "batch_stats": state.batch_stats,
                    "perturbations": {"features": shift},
                },
                batch[student_input],
                train=True,
                mask=targets.mask,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            taught_by, teacher_stats = teacher_outputs, state.teacher_stats
            if method.trains_teacher:
                taught_by, teacher_stats = train_teacher(params["teacher"])
            found, memory = method.run(params["method"], outputs, taught_by, targets, state.memory)
            terms = {"task": targets.loss(outputs.logits), **found}
            shares = {
                name: jnp.where(counted[name], term, 0) / jnp.maximum(counts[name], 1)
                for name, term in terms.items()
            }
            return shares, (outputs, updates["batch_stats"], teacher_stats, memory)

        def train_teacher(params: Params) -> tuple[Any, Params]:
            """The outputs of a teacher in training mode, and its statistics after them."""
            assert isinstance(teacher, nn.Module), "checked where the step is built"
            taught_by, updates = teacher.apply(
                {"params": params, "batch_stats": state.teacher_stats},
                teachers.read(batch, teacher_input),
                train=True,
                mask=targets.mask,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.fold_in(key, 1)},
            )
            return taught_by, updates["batch_stats"]

        shift = _no_shift(student, batch[student_input])
        shares, pull_back, (outputs, *statistics, memory) = jax.vjp(
            contributions, state.params, shift, has_aux=True
        )
        weighted, cotangents = jax.value_and_grad(
            lambda terms: jnp.sum(losses.combine(terms, weights))
        )(shares)
        gradients = lax.psum(pull_back(cotangents)[0], AXIS)
        on_features = jax.vmap(lambda alone: pull_back(alone)[1])(_one_at_a_time(cotangents))

        totals = lax.psum(
            {
                "loss": weighted,
                "terms": {name: jnp.sum(share) for name, share in shares.items()},
                "squares": {
                    name: jnp.sum(jnp.square(g))
                    for name, g in zip(cotangents, on_features, strict=True)
                },
                "accuracy": metrics.masked_sum(
                    metrics.correct(outputs.logits, targets.labels), counted["task"]
                ),
            },
            AXIS,
        )
        one = jnp.ones(())
        sums = {
            "loss": (totals["loss"], one),
            "accuracy": totals["accuracy"],
            # A batch without a labelled example says nothing of a labelled term: its count is 0.
            "terms": {
                name: (mean, jnp.minimum(counts[name], 1).astype(mean.dtype))
                for name, mean in totals["terms"].items()
            },
            "gradient_norms": {
                name: (jnp.sqrt(square), one) for name, square in totals["squares"].items()
            },
        }
        # Equal on every device already where BatchNorm is synchronised.
        batch_stats, teacher_stats = lax.pmean(statistics, AXIS)
        state = state.apply_gradients(
            grads=gradients, batch_stats=batch_stats, teacher_stats=teacher_stats, memory=memory
        )
        return state, sums

    return step


def make_eval_step(
    model: nn.Module, model_input: str, method: Method, task: Task
) -> Callable[[Params, Params, Batch], tuple[Sums, dict[str, Array]]]:
    """Builds one evaluation step.

    Args:
        model: The backbone to evaluate.
        model_input: The modality it reads.
        method: Supplies further heads to report.
        task: Says what is measured.

    Returns:
        ``step(variables, method_params, batch) -> (sums, examples)``, to be mapped with
        `Devices.map`. ``sums`` holds the task's pairs under ``heads``, for ``main`` and each head
        of the method, and the main head's ``confusion [K, K]``; ``examples`` holds ``features``,
        ``predictions``, ``labels``, ``id`` and ``mask``, N first.
    """

    def step(variables: Params, method_params: Params, batch: Batch) -> Any:
        outputs: Any = model.apply(variables, batch[model_input], train=False)
        logits = {"main": outputs.logits, **method.heads(method_params, outputs)}
        labels, mask = batch["label"], batch["mask"]
        sums = {
            "heads": {
                head: task.sums(head_logits, labels, mask) for head, head_logits in logits.items()
            },
            "confusion": metrics.confusion(outputs.logits, labels, mask),
        }
        examples = {
            "features": outputs.features,
            "predictions": jnp.argmax(outputs.logits, axis=-1).astype(jnp.int32),
            "labels": batch["label"],
            "id": batch["id"],
            "mask": batch["mask"],
        }
        return lax.psum(sums, AXIS), examples

    return step


@dataclass(frozen=True)
class Devices:
    """How steps run on the devices: mapped by ``jax.pmap`` or by ``jax.shard_map``.

    States and other whole trees carry no device axis either way; batches are split by rows.

    Attributes:
        parallel: Which map.
        devices: Which devices; all if none is named.

    Raises:
        ValueError: If the map is unknown.
    """

    parallel: Literal["pmap", "shard_map"] = "pmap"
    devices: Sequence[jax.Device] = ()

    def __post_init__(self) -> None:
        if self.parallel not in ("pmap", "shard_map"):
            raise ValueError(f"parallel must be 'pmap' or 'shard_map', got {self.parallel!r}.")
        # A tuple whatever was given: equal devices hash alike.
        object.__setattr__(self, "devices", tuple(self.devices or jax.devices()))

    @property
    def count(self) -> int:
        """How many devices there are, over all processes."""
        return len(self.devices)

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    @functools.cached_property
    def _local(self) -> int:
        """How many of them are this process's."""
        return sum(device.process_index == jax.process_index() for device in self.devices)

    def map(
        self, step: Callable, *, batch_argument: int, split_output: int | None, donate: bool
    ) -> Callable:
        """Compiles a step over all devices.

        Args:
            step: Takes three arguments and returns two results.
            batch_argument: Which argument is a batch, split over the devices by `split`.
            split_output: Which result has rows of that batch; None if neither has.
            donate: Reuse the buffers of the first argument.

        Returns:
            The compiled step; the results that are not split are equal on all devices.
        """
        split_in = [index == batch_argument for index in range(3)]
        split_out = [index == split_output for index in range(2)]
        donated = (0,) if donate else ()
        if self.parallel == "pmap":
            return jax.pmap(
                step,
                axis_name=AXIS,
                in_axes=tuple(0 if split else None for split in split_in),
                out_axes=tuple(0 if split else None for split in split_out),
                devices=self.devices,
                donate_argnums=donated,
            )

        def specs(split: Sequence[bool]) -> tuple[PartitionSpec, ...]:
            return tuple(PartitionSpec(AXIS) if is_split else PartitionSpec() for is_split in split)

        # With check_vma=True gradients of replicated parameters come summed over the axis already,
        # and our own sum would count them once per device.
        mapped = jax.shard_map(
            step,
            mesh=self._mesh,
            in_specs=specs(split_in),
            out_specs=specs(split_out),
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=donated)

    def check(self, batch_size: int) -> None:
        """Raises ConfigError unless a global batch falls evenly on the devices."""
        if batch_size % self.count:
            raise ConfigError(
                f"a batch of {batch_size} does not divide over {self.count} devices; "
                f"use a multiple of {self.count}."
            )

    def replicate(self, tree: Any) -> Any:
        """A host tree on every device, placed as a mapped step returns it."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def split(self, batch: Batch) -> Any:
        """This process's rows of a batch, ``[N, ...]`` each, laid out for a mapped step."""
        if self.parallel == "pmap":
            return jax.tree.map(lambda x: x.reshape(self._local, -1, *x.shape[1:]), batch)
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
        )

    def gather(self, examples: Any) -> Any:
        """This process's rows of a step's split result, as host arrays ``[N, ...]``."""
        if self.parallel == "pmap":
            return jax.tree.map(lambda x: _local_rows(x).reshape(-1, *x.shape[2:]), examples)
        return jax.tree.map(_local_rows, examples)


def to_host(tree: Any) -> Any:
    """A replicated tree as NumPy copies, whatever the number of devices and processes.

    Copies, since a view on the CPU's own buffer would change when the buffer is donated.
    """
    return jax.tree.map(
        lambda x: np.array(x.addressable_data(0)) if isinstance(x, jax.Array) else x, tree
    )


def _local_rows(x: jax.Array) -> np.ndarray:
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def _one_at_a_time(cotangents: Mapping[str, Array]) -> dict[str, Array]:
    """``[T, N]`` a term: in row t all but the t-th term's cotangents are zero."""
    rows = enumerate(cotangents.items())
    return {
        name: jnp.zeros((len(cotangents), *value.shape), value.dtype).at[row].set(value)
        for row, (name, value) in rows
    }


def _no_shift(model: nn.Module, x: Float[Array, "N *shape"]) -> Array:
    """Zeros of the shape of the model's ``features`` perturbation for this batch."""
    shape = abstract_init(model, x)["perturbations"]["features"]
    return jnp.zeros(shape.shape, shape.dtype)
