"""FD-CMKD: frequency-decoupled cross-modal knowledge distillation."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fdcmkd_jax import losses
from fdcmkd_jax.frequency import SoftCutoff, band_rank, check_cutoff, split_bands
from fdcmkd_jax.methods.base import Method, adapt, dense, init_adapter, init_dense, pool
from fdcmkd_jax.tables import check_choice
from fdcmkd_jax.types import Outputs, Params, Targets

Basis = Literal["dft", "dct", "haar", "random", "learned", "none"]

SLOPE = 20.0
"""Of a soft cutoff at the start: nine tenths to one tenth within 0.22 of the frequencies."""

Split = dict[str, Float[Array, "N *rest D"]]
"""Features by band: ``low`` and ``high``, or the whole as ``feature``."""


def fd_cmkd(
    cutoff: float = 0.5,
    soft_cutoff: bool = False,
    basis: Basis = "dft",
    basis_seed: int = 0,
    keep_dc: bool = False,
    normalize: losses.Normalize = "band",
    low_loss: losses.BandLoss = "mse",
    high_loss: losses.BandLoss = "log_mse",
    reduction: losses.Reduction = "mean",
    shared_heads: bool = True,
    auxiliary_heads: bool = True,
    pseudo_labels: bool = True,
    epsilon: float = 1e-8,
) -> Method:
    r"""Aligns the low band strongly and the high band weakly, on one scale, under shared heads.

    .. math:: L = L_{task} + L_{align} + \lambda_1 L_{low} + \lambda_2 L_{high}

    A head is ReLU, then a dense layer to K classes, on a band that is not standardised. Where the
    widths differ the student's features pass a linear map to the teacher's width first.

    Args:
        cutoff: Share of the DFT bins that is low, in (0, 1).
        soft_cutoff: Train a `SoftCutoff` that starts at ``cutoff`` with `SLOPE`; DFT and DCT only.
        basis: What divides the features: a basis of `split_bands`; ``"learned"``; or ``"none"``,
            one band ``feature`` that is all of it, the mean too, compared by ``low_loss`` and
            classified by one head where two bands have two.
        basis_seed: Which split the basis ``"random"`` draws.
        keep_dc: Put the mean (bin 0) into the low band, as the paper's mask does; the public code
            drops it. Every scale but ``normalize="none"`` removes the mean again, so only the low
            heads see it. The basis ``"none"`` keeps it anyway.
        normalize: The common scale: ``"band"``, ``"before"``, ``"rms"`` or ``"none"``; see
            `frequency_distances`.
        low_loss: ``"mse"``, ``"log_mse"`` or ``"none"``, which leaves the term out.
        high_loss: The same for the high band.
        reduction: ``"mean"`` or ``"sum"`` over D; see `frequency_distances`.
        shared_heads: Classify both models' bands by one low and one high head (the term ``align``).
        auxiliary_heads: Classify the student's bands by two heads of its own (``auxiliary``). In
            the public code, not in the paper's total.
        pseudo_labels: Where a label is hidden, ``align`` takes the teacher's prediction; otherwise
            it counts labelled examples only.
        epsilon: Lower clamp of a norm.

    The learned basis is a common and a private part of the features. Common (``low``) is the span
    of as many directions as the DFT's low band has, one span for both models; private (``high``)
    is what is orthogonal to it and to the mean. The directions start at random and are trained
    by the weighted terms, as the heads are.

    Terms:
        low: ``[N]``, MSE of the standardised low bands.
        high: ``[N]``, log-MSE of the standardised high bands.
        feature: ``[N]``, in place of ``low`` and ``high`` under the basis ``"none"``.
        align: ``[N]``, the sum of four cross-entropies: both heads on both models' bands.
        auxiliary: ``[N]``, the sum of two cross-entropies: the student's own heads.

    Raises:
        ValueError: If the cutoff is not inside (0, 1), a choice is unknown, or a soft cutoff is
            asked of another basis than the DFT and DCT.

    Source: arXiv 2511.19887; features, bins, clamp and auxiliary heads as in its public code.
    Common and private parts after arXiv 2511.17890, which keeps the private ones out of every
    cross-modal loss (here ``high_loss="none"``); that they are orthogonal is ours.
    """
    check_cutoff(cutoff)
    for option, value, choices in (
        ("basis", basis, Basis),
        ("normalize", normalize, losses.Normalize),
        ("low_loss", low_loss, losses.BandLoss),
        ("high_loss", high_loss, losses.BandLoss),
        ("reduction", reduction, losses.Reduction),
    ):
        check_choice(option, value, choices)
    whole = basis == "none"
    band_losses = {"feature": low_loss} if whole else {"low": low_loss, "high": high_loss}
    init_split, split = _splitter(basis, basis_seed, keep_dc, cutoff, soft_cutoff)
    groups = [
        name for name, wanted in (("align", shared_heads), ("auxiliary", auxiliary_heads)) if wanted
    ]

    def init(key: Array, student: Outputs, teacher: Outputs | None, num_classes: int) -> Params:
        if teacher is None:
            raise ValueError("fd_cmkd needs a teacher's features.")
        size = teacher.features.shape[-1]
        params = {"adapter": init_adapter(jax.random.fold_in(key, 0), student, teacher)}
        for group in groups:
            # Keyed by name, so that switching one group off leaves the other's start unchanged.
            keys = jax.random.split(
                jax.random.fold_in(key, 1 + (group == "auxiliary")), len(band_losses)
            )
            params[group] = {
                band: init_dense(band_key, size, num_classes)
                for band, band_key in zip(band_losses, keys, strict=True)
            }
        return {**params, **init_split(jax.random.fold_in(key, 3), size)}

    def terms(
        params: Params, student: Outputs, teacher: Outputs, targets: Targets
    ) -> dict[str, Array]:
        student_bands = split(params, adapt(params["adapter"], student.features))
        teacher_bands = split(params, teacher.features)
        result = losses.band_distances(
            student_bands,
            teacher_bands,
            band_losses,
            normalize=normalize,
            reduction=reduction,
            epsilon=epsilon,
        )
        if shared_heads:
            known = targets.with_pseudo_labels(teacher.logits) if pseudo_labels else targets
            by_student = _label_loss(params["align"], student_bands, known)
            result["align"] = by_student + _label_loss(params["align"], teacher_bands, known)
        if auxiliary_heads:
            result["auxiliary"] = _label_loss(params["auxiliary"], student_bands, targets)
        return result

    def heads(params: Params, student: Outputs) -> dict[str, Array]:
        bands = split(params, adapt(params["adapter"], student.features))
        return {
            f"{group}_{band}": head_logits
            for group in groups
            for band, head_logits in _classify(params[group], bands).items()
        }

    return Method(
        init=init,
        terms=terms,
        names=(*(band for band, loss in band_losses.items() if loss != "none"), *groups),
        label_terms=frozenset(groups) - ({"align"} if pseudo_labels else set()),
        heads=heads,
    )


def _splitter(
    basis: Basis, basis_seed: int, keep_dc: bool, cutoff: float, soft_cutoff: bool
) -> tuple[Callable[[Array, int], Params], Callable[[Params, Array], Split]]:
    """``init(key, D) -> params``, what of the split is trained, and ``split(params, features)``."""
    if soft_cutoff and basis not in ("dft", "dct"):
        raise ValueError(f"a soft cutoff needs the basis 'dft' or 'dct', got {basis!r}.")

    def init(key: Array, size: int) -> Params:
        params: dict[str, Any] = {}
        if basis == "learned":
            shape = (size, band_rank(size, cutoff=cutoff))
            params["basis"] = jax.random.normal(key, shape, jnp.float32)
        if soft_cutoff:
            # Unbounded numbers: no step of training makes of them a cutoff outside (0, 1).
            params["cutoff"] = {
                "logit": jnp.float32(math.log(cutoff / (1 - cutoff))),
                "log_slope": jnp.float32(math.log(SLOPE)),
            }
        return params

    def split(params: Params, features: Array) -> Split:
        if basis == "none":
            return {"feature": features}
        edge: float | SoftCutoff = cutoff
        if soft_cutoff:
            trained = params["cutoff"]
            edge = SoftCutoff(jax.nn.sigmoid(trained["logit"]), jnp.exp(trained["log_slope"]))
        chosen = params["basis"] if basis == "learned" else basis
        return split_bands(
            features, cutoff=edge, keep_dc=keep_dc, basis=chosen, basis_seed=basis_seed
        )._asdict()

    return init, split


def _label_loss(params: Params, bands: Split, targets: Targets) -> Float[Array, " N"]:
    """The sum of the heads' losses."""
    by_head = (targets.loss(logits) for logits in _classify(params, bands).values())
    return functools.reduce(jnp.add, by_head)


def _classify(params: Params, bands: Split) -> dict[str, Float[Array, "N K"]]:
    """Each band's logits by its own head, averaged over frames or positions if there are any."""
    logits = {}
    for band, features in bands.items():
        logits[band] = dense(params[band], pool(jax.nn.relu(features)))
    return logits
