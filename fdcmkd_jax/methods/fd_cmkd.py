"""FD-CMKD: frequency-decoupled cross-modal knowledge distillation."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax import adapters, losses
from fdcmkd_jax.frequency import SoftCutoff, band_rank, check_cutoff, split_bands
from fdcmkd_jax.methods.base import (
    Method,
    Terms,
    dense,
    init_dense,
    pool,
    resize,
    stateless,
)
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.types import Outputs, Params, Targets

Basis = Literal["dft", "dct", "haar", "random", "learned", "none"]
Over = Literal["channels", "space"]

SLOPE = 20.0
"""Initial slope of a soft cutoff: from nine tenths to one tenth within 0.22 of the frequencies."""

Bands = Mapping[str, Float[Array, "N *rest D"]]
"""Features by band: ``low`` and ``high``, or the whole as ``feature``."""


def fd_cmkd(
    cutoff: float = 0.5,
    soft_cutoff: bool = False,
    basis: Basis = "dft",
    basis_seed: int = 0,
    keep_dc: bool = False,
    over: Over = "channels",
    normalize: losses.Normalize = "band",
    low_loss: losses.BandLoss = "mse",
    high_loss: losses.BandLoss = "log_mse",
    reduction: losses.Reduction = "mean",
    shared_heads: bool = True,
    auxiliary_heads: bool = True,
    pseudo_labels: bool = True,
    epsilon: float = 1e-8,
    adapter: adapters.Kind = "auto",
) -> Method:
    r"""Aligns the low band strongly and the high band loosely, on one scale, under shared heads.

    .. math:: L = L_{task} + L_{align} + \lambda_1 L_{low} + \lambda_2 L_{high}

    A head is ReLU, then a dense layer to K classes, on a band that is not standardized. An adapter
    brings the student's features to the teacher's width first. Where features are maps, the
    student's are resized to the teacher's grid, and if every pixel is predicted, so do the heads,
    whose logits are resized to the student's.

    Args:
        cutoff: Share of the DFT bins that is low, in (0, 1).
        soft_cutoff: Train a `SoftCutoff` that starts at ``cutoff`` with `SLOPE`; DFT and DCT only.
        basis: A basis of `split_bands`; ``"learned"``; or ``"none"``, a single band ``feature``
            that is the whole feature with its mean, compared by ``low_loss`` and classified by one
            head in place of two.
        basis_seed: Seed of the basis ``"random"``.
        keep_dc: Put the mean (bin 0) into the low band, as the paper's mask does; the public code
            drops it. Every scale but ``normalize="none"`` removes the mean again, so only the low
            heads read it. The basis ``"none"`` always keeps it.
        over: Where features are maps, the split is over the ``"channels"`` of each position, or
            over ``"space"`` in each channel, which takes the DFT; losses then average over both.
        normalize: The common scale: ``"band"``, ``"before"``, ``"rms"`` or ``"none"``; see
            `frequency_distances`.
        low_loss: ``"mse"``, ``"log_mse"`` or ``"none"``, which leaves the term out.
        high_loss: The same for the high band.
        reduction: ``"mean"`` or ``"sum"`` over D; see `frequency_distances`.
        shared_heads: Classify both models' bands by one low and one high head (the term ``align``).
        auxiliary_heads: Classify the student's bands by two heads of its own (``auxiliary``). In
            the public code, not in the paper's total.
        pseudo_labels: Where a label is hidden, ``align`` uses the teacher's prediction; otherwise
            it counts labeled examples only.
        epsilon: Lower clamp of a norm.
        adapter: ``"auto"``, a linear map where the widths differ; ``"linear"`` or ``"mlp"`` in any
            case. See `adapters.choose`.

    The learned basis divides the features into a common and a private part. The common part
    (``low``) is the span of as many directions as the DFT's low band has, one span for both models.
    The private part (``high``) is orthogonal to it and to the mean. The directions start at random
    and are trained by the weighted terms, as the heads are.

    Terms:
        low: ``[N]``, MSE of the standardized low bands.
        high: ``[N]``, log-MSE of the standardized high bands.
        feature: ``[N]``, in place of ``low`` and ``high`` under the basis ``"none"``.
        align: ``[N]``, the sum of four cross-entropies: both heads on both models' bands.
        auxiliary: ``[N]``, the sum of two cross-entropies: the student's own heads.

    Raises:
        ValueError: If the cutoff is not inside (0, 1), a choice is unknown, or a soft cutoff is
            combined with a basis other than the DFT and DCT; from ``init`` without a teacher.

    Source: arXiv 2511.19887; features, bins, clamp and auxiliary heads as in its public code.
    Common and private parts after arXiv 2511.17890, which keeps the private parts out of every
    cross-modal loss (here ``high_loss="none"``); their orthogonality is ours.
    """
    check_cutoff(cutoff)
    for option, value, choices in (
        ("basis", basis, Basis),
        ("over", over, Over),
        ("normalize", normalize, losses.Normalize),
        ("low_loss", low_loss, losses.BandLoss),
        ("high_loss", high_loss, losses.BandLoss),
        ("reduction", reduction, losses.Reduction),
    ):
        check_choice(option, value, choices)
    if soft_cutoff and basis not in ("dft", "dct"):
        raise ValueError(f"a soft cutoff needs the basis 'dft' or 'dct', got {basis!r}.")
    if over == "space" and basis not in ("dft", "none"):
        raise ValueError(f"a split over space needs the basis 'dft' or 'none', got {basis!r}.")
    whole = basis == "none"
    band_losses = {"feature": low_loss} if whole else {"low": low_loss, "high": high_loss}
    groups = tuple(
        name for name, used in (("align", shared_heads), ("auxiliary", auxiliary_heads)) if used
    )
    axes = (1, 2) if over == "space" else (-1,)
    split = _Split(cutoff, soft_cutoff, basis, basis_seed, keep_dc, axes)
    pseudo_label_terms = frozenset({"align"} if pseudo_labels and shared_heads else ())
    distances = functools.partial(
        losses.band_distances,
        band_losses=band_losses,
        axes=axes,
        normalize=normalize,
        reduction=reduction,
        epsilon=epsilon,
    )
    student_adapter = adapters.choose(adapter)
    return stateless(
        functools.partial(_terms, split, student_adapter, distances, groups, pseudo_labels),
        names=(*(band for band, loss in band_losses.items() if loss != "none"), *groups),
        init=functools.partial(_init, split, student_adapter, tuple(band_losses), groups),
        label_terms=frozenset(groups) - pseudo_label_terms,
        pseudo_label_terms=pseudo_label_terms,
        heads=functools.partial(_heads, split, student_adapter, groups),
        dense=True,
    )


class _Split(NamedTuple):
    """The split of features into bands, with the parameters it may train."""

    cutoff: float
    soft_cutoff: bool
    basis: Basis
    basis_seed: int
    keep_dc: bool
    axes: tuple[int, ...]

    def init(self, key: Array, size: int) -> Params:
        """Draws the split's trainables for features of length ``size``; mostly none."""
        params: dict[str, Any] = {}
        if self.basis == "learned":
            shape = (size, band_rank(size, cutoff=self.cutoff))
            params["basis"] = jax.random.normal(key, shape, jnp.float32)
        if self.soft_cutoff:
            # Unbounded numbers, so that no training step leads to a cutoff outside (0, 1).
            params["cutoff"] = {
                "logit": jnp.float32(math.log(self.cutoff / (1 - self.cutoff))),
                "log_slope": jnp.float32(math.log(SLOPE)),
            }
        return params

    def __call__(self, params: Params, features: Array) -> Bands:
        """Splits features ``[N, ..., D]`` into bands of the same shape."""
        if self.basis == "none":
            return {"feature": features}
        cutoff: float | SoftCutoff = self.cutoff
        if self.soft_cutoff:
            trained = params["cutoff"]
            cutoff = SoftCutoff(jax.nn.sigmoid(trained["logit"]), jnp.exp(trained["log_slope"]))
        basis = params["basis"] if self.basis == "learned" else self.basis
        return split_bands(
            features,
            cutoff=cutoff,
            axes=self.axes,
            keep_dc=self.keep_dc,
            basis=basis,
            basis_seed=self.basis_seed,
        )._asdict()


def _init(
    split: _Split,
    adapter: adapters.Adapter,
    bands: tuple[str, ...],
    groups: tuple[str, ...],
    key: Array,
    student: Outputs,
    teacher: Outputs | None,
    num_classes: int,
) -> Params:
    """Draws the adapter, the heads of each group, and the split's trainables."""
    if teacher is None:
        raise ValueError("fd_cmkd needs a teacher's features.")
    size = teacher.features.shape[-1]
    if len(split.axes) > 1 and (teacher.features.ndim != 4 or min(teacher.features.shape[1:3]) < 4):
        raise ValueError(
            "a split over space needs maps [N, H, W, C] of at least 4 x 4 positions, got features "
            f"of shape {teacher.features.shape}."
        )
    adapter_key = jax.random.fold_in(key, 0)
    params = {"adapter": adapter.init(adapter_key, student.features.shape[-1], size)}
    for group in groups:
        # A key by name, so that switching one group off leaves the other's start unchanged.
        group_key = jax.random.fold_in(key, 1 + (group == "auxiliary"))
        keys = jax.random.split(group_key, len(bands))
        params[group] = {
            band: init_dense(band_key, size, num_classes)
            for band, band_key in zip(bands, keys, strict=True)
        }
    return {**params, **split.init(jax.random.fold_in(key, 3), size)}


def _terms(
    split: _Split,
    adapter: adapters.Adapter,
    distances: Callable[[Bands, Bands], Terms],
    groups: tuple[str, ...],
    pseudo_labels: bool,
    params: Params,
    student: Outputs,
    teacher: Outputs,
    targets: Targets,
) -> Terms:
    features = resize(adapter.apply(params["adapter"], student.features), teacher.features)
    student_bands, teacher_bands = split(params, features), split(params, teacher.features)
    terms = distances(student_bands, teacher_bands)
    if "align" in groups:
        labels = targets.with_pseudo_labels(teacher.logits) if pseudo_labels else targets
        terms["align"] = functools.reduce(
            jnp.add,
            (
                _label_loss(params["align"], bands, labels, like=student.logits)
                for bands in (student_bands, teacher_bands)
            ),
        )
    if "auxiliary" in groups:
        terms["auxiliary"] = _label_loss(
            params["auxiliary"], student_bands, targets, like=student.logits
        )
    return terms


def _heads(
    split: _Split,
    adapter: adapters.Adapter,
    groups: tuple[str, ...],
    params: Params,
    student: Outputs,
) -> dict[str, Array]:
    bands = split(params, adapter.apply(params["adapter"], student.features))
    return {
        f"{group}_{band}": head_logits
        for group in groups
        for band, head_logits in _classify(params[group], bands, like=student.logits).items()
    }


def _label_loss(
    params: Params, bands: Bands, targets: Targets, *, like: Array
) -> Float[Array, " N"]:
    """Sums the losses of the heads."""
    by_head = (targets.loss(logits) for logits in _classify(params, bands, like=like).values())
    return functools.reduce(jnp.add, by_head)


def _classify(params: Params, bands: Bands, *, like: Array) -> dict[str, Array]:
    """Classifies each band by its own head.

    Returns:
        Logits of the shape of ``like``: of every pixel, or of the average over frames or positions.
    """
    logits = {}
    for band, features in bands.items():
        active = jax.nn.relu(features)
        if like.ndim == 4:
            logits[band] = resize(dense(params[band], active), like)
        else:
            logits[band] = dense(params[band], pool(active))
    return logits
