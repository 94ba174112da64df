"""Losses and gradients against numbers computed elsewhere, in float64 and by other code."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdcmkd_jax import losses, methods
from fdcmkd_jax.frequency import split_bands
from fdcmkd_jax.types import Outputs, Targets

c2kd = importlib.import_module("fdcmkd_jax.methods.c2kd")
mgdfr = importlib.import_module("fdcmkd_jax.methods.mgdfr")
mst = importlib.import_module("fdcmkd_jax.methods.mst")
GOLDEN = json.loads((Path(__file__).parent / "golden" / "methods.json").read_text())
NUM_CLASSES = 3


def given(entry):
    """An entry's inputs as arrays."""
    return {name: jnp.asarray(value) for name, value in GOLDEN[entry]["inputs"].items()}


def assert_golden(entry, loss, student):
    """Checks the batch mean of ``loss(student)``, shape [N], and its gradient."""
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.mean(loss(x))))(student)
    np.testing.assert_allclose(value, GOLDEN[entry]["loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, GOLDEN[entry]["grad_student"], rtol=1e-4, atol=1e-6)


def outputs(*, features=None, logits=None, maps=None):
    """A model's outputs of which only one part matters; others are zeros of a fitting shape."""
    maps = maps or {}
    some = next(x for x in (logits, features, *maps.values()) if x is not None)
    return Outputs(
        logits=jnp.zeros((len(some), NUM_CLASSES)) if logits is None else logits,
        features=jnp.zeros((len(some), 4)) if features is None else features,
        maps=maps,
    )


def targets(size, labels=None, num_classes=NUM_CLASSES):
    return Targets(
        labels=jnp.zeros(size, jnp.int32) if labels is None else labels,
        labelled=jnp.ones(size, bool),
        mask=jnp.ones(size, bool),
        num_classes=num_classes,
        label_loss=losses.cross_entropy,
    )


def test_cross_entropy():
    x = given("ce")
    assert_golden("ce", lambda s: losses.cross_entropy(s, x["labels"]), x["student_logits"])


@pytest.mark.parametrize("entry", ["kd_T1", "kd_T4"])
def test_soft_divergence_and_the_logit_method(entry):
    x = given(entry)
    temperature = GOLDEN[entry]["hyperparameters"]["temperature"]
    method = methods.make("logit", temperature=temperature)

    def by_function(student):
        return losses.soft_divergence(student, x["teacher_logits"], temperature=temperature)

    def by_method(student):
        teacher = outputs(logits=x["teacher_logits"])
        return method.terms({}, outputs(logits=student), teacher, targets(2))["divergence"]

    assert_golden(entry, by_function, x["student_logits"])
    assert_golden(entry, by_method, x["student_logits"])


def test_soft_divergence_of_dense_logits():
    x = given("kd_seg_T1")
    student, teacher = x["student_logits_nhwk"], x["teacher_logits_nhwk"]
    assert_golden(
        "kd_seg_T1", lambda s: losses.soft_divergence(s, teacher, temperature=1.0), student
    )


def test_mean_squared_error():
    x = given("feat_mse")
    loss = losses.mean_squared_error
    assert_golden("feat_mse", lambda s: loss(s, x["teacher_feat"]), x["student_feat"])


@pytest.mark.parametrize("entry", ["feat_mse", "feat_mse_linear_projector"])
def test_the_mse_method_with_and_without_a_linear_map(entry):
    x = given(entry)
    adapter = {"kernel": x["kernel_in_out"], "bias": x["bias"]} if "bias" in x else {}
    teacher = outputs(features=x["teacher_feat"])

    def loss(student):
        params = {"adapter": adapter}
        terms = methods.make("mse").terms(params, outputs(features=student), teacher, targets(2))
        return terms["feature"]

    assert_golden(entry, loss, x["student_feat"])


@pytest.mark.parametrize("band", ["low", "high"])
def test_frequency_distances_and_the_fd_cmkd_method(band):
    entry = f"fdcmkd_{band}"
    x = given(entry)
    method = methods.make("fd_cmkd", shared_heads=False, auxiliary_heads=False)

    def by_function(student):
        return losses.frequency_distances(student, x["teacher_feat"])[band]

    def by_method(student):
        teacher = outputs(features=x["teacher_feat"])
        return method.terms({"adapter": {}}, outputs(features=student), teacher, targets(2))[band]

    assert_golden(entry, by_function, x["student_feat"])
    assert_golden(entry, by_method, x["student_feat"])


@pytest.mark.parametrize("owner", ["student", "teacher"])
@pytest.mark.parametrize("band", ["low", "high"])
def test_bands(owner, band):
    actual = getattr(split_bands(given("fdcmkd_low")[f"{owner}_feat"]), band)
    expected = GOLDEN["fdcmkd_low"]["outputs"][f"{owner}_{band}"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_the_shared_heads_of_fd_cmkd():
    x = given("fdcmkd_align")
    heads = {
        band: {"kernel": x[f"{band}_kernel"], "bias": x[f"{band}_bias"]} for band in ("low", "high")
    }
    teacher = outputs(features=x["teacher_feat"])
    method = methods.fd_cmkd(auxiliary_heads=False)

    def loss(student):
        params = {"adapter": {}, "align": heads}
        known = targets(2, x["labels"])
        return method.terms(params, outputs(features=student), teacher, known)["align"]

    assert_golden("fdcmkd_align", loss, x["student_feat"])


# Which part of the outputs a method reads, how the entry calls it, and how to wrap it.
PARTS = {
    "logits": ("logits", lambda x: outputs(logits=x)),
    "features": ("feat", lambda x: outputs(features=x)),
    "map": ("map_nhwc", lambda x: outputs(maps={"stage1": x})),
}
RELATED = {"inter": 1.0, "intra": 1.0}
THIRDS = {"instance": 1 / 3, "class": 1 / (3 * 4), "batch": 1 / (3 * 2)}  # 4 classes, 2 rows
FIGKD = "figkd_haar_detail_UNCONFIRMED"


@pytest.mark.parametrize(
    ("entry", "part", "name", "options", "weights"),
    [
        ("dist_tau1", "logits", "dist", {}, RELATED),
        ("dist_tau4", "logits", "dist", {"temperature": 4.0}, RELATED),
        ("dkd", "logits", "dkd", {}, {"target": 1.0, "other": 8.0}),
        (
            *("dkd_imagenet_setting", "logits", "dkd"),
            {"temperature": 1.0},
            {"target": 1.0, "other": 0.5},
        ),
        ("feat_mse_map", "map", "feat", {"stage": "stage1"}, {"feature": 1.0}),
        ("feat_mse", "features", "feat", {}, {"feature": 1.0}),
        (FIGKD, "logits", "figkd", {}, {"detail": 1.0}),
        (
            *("mlld_single_T", "logits", "mlld"),
            {"temperatures": [4.0]},
            {"instance": 1.0, "class": 1.0, "batch": 1.0},
        ),
        ("mlld_mst_variant", "logits", "mlld", {}, THIRDS),
        ("ofa_gamma1p0", "logits", "ofa", {}, {"logits": 1.0, "stages": 0.0}),
        ("ofa_gamma1p5", "logits", "ofa", {"gamma": 1.5}, {"logits": 1.0, "stages": 0.0}),
        ("pkd_map", "map", "pkd", {"stage": "stage1"}, {"feature": 1.0}),
        ("pkd_vector", "features", "pkd", {}, {"feature": 1.0}),
        ("rkd", "features", "rkd", {}, {"distance": 25.0, "angle": 50.0}),
    ],
)
def test_a_methods_weighted_terms(entry, part, name, options, weights):
    x = given(entry)
    suffix, wrap = PARTS[part]
    student, teacher = x[f"student_{suffix}"], wrap(x[f"teacher_{suffix}"])
    known = targets(len(student), x.get("labels"), student.shape[-1])
    method = methods.make(name, **options)
    # Widths are equal and stages play no part: what trainables there are stay empty.
    params = {"adapter": {}} if part != "logits" else {}
    assert_golden(
        entry,
        lambda s: losses.combine(method.terms(params, wrap(s), teacher, known), weights),
        student,
    )


@pytest.mark.parametrize(
    ("entry", "name", "part_of"),
    [
        ("dist_tau1", "dist", {"inter": "inter", "intra": "intra"}),
        ("dkd", "dkd", {"target": "tckd", "other": "nckd"}),
        ("rkd", "rkd", {"distance": "distance", "angle": "angle"}),
    ],
)
def test_each_term_of_a_method(entry, name, part_of):
    x = given(entry)
    suffix, wrap = PARTS["features" if name == "rkd" else "logits"]
    student, teacher = x[f"student_{suffix}"], x[f"teacher_{suffix}"]
    known = targets(len(student), x.get("labels"), student.shape[-1])
    terms = jax.jit(methods.make(name).terms)({}, wrap(student), wrap(teacher), known)
    for term, part in part_of.items():
        expected = GOLDEN[entry]["parts"][part]
        np.testing.assert_allclose(jnp.mean(terms[term]), expected, rtol=1e-5)


def test_the_parts_of_mlld_at_one_temperature():
    x = given("mlld_single_T")
    student, teacher = (outputs(logits=x[f"{who}_logits"]) for who in ("student", "teacher"))
    terms = methods.make("mlld", temperatures=[4.0]).terms({}, student, teacher, targets(2))
    for term, part in (("instance", "kd"), ("class", "cc"), ("batch", "bc")):
        # Printed to 8 decimals, of which the smallest part has 5 that say something.
        expected = GOLDEN["mlld_single_T"]["parts"][part]
        np.testing.assert_allclose(jnp.mean(terms[term]), expected, rtol=1e-5, atol=1e-8)


def test_afd():
    inputs = GOLDEN["afd"]["inputs"]

    def maps(owner):
        found = enumerate(inputs[f"{owner}_maps_nhwc"], 1)
        return {f"stage{index}": jnp.asarray(x) for index, x in found}

    def linear(pair):
        kernel, bias = map(jnp.asarray, pair)
        norm = {"scale": jnp.ones(bias.shape), "bias": jnp.zeros(bias.shape)}
        return {"dense": {"kernel": kernel, "bias": bias}, "norm": norm}

    def linears(name):
        return {f"stage{index}": linear(pair) for index, pair in enumerate(inputs[name], 1)}

    params = {
        "keys": linears("key_linear_in_out"),
        "queries": linears("query_linear_in_out"),
        "bilinear": linear(inputs["bilinear_in_out"]),
        "student_position": jnp.asarray(inputs["p_s"]),
        "teacher_position": jnp.asarray(inputs["p_t"]),
    }
    student, teacher = maps("student"), outputs(maps=maps("teacher"))
    size = len(student["stage1"])

    @jax.jit
    @jax.value_and_grad
    def loss(student):
        terms = methods.make("afd", size=2).terms(
            params, outputs(maps=student), teacher, targets(size)
        )
        return jnp.mean(terms["attention"])

    value, gradients = loss(student)
    np.testing.assert_allclose(value, GOLDEN["afd"]["loss"], rtol=1e-5)
    expected = GOLDEN["afd"]["outputs"]["grad_student_maps"]
    for gradient, numbers in zip(gradients.values(), expected, strict=True):
        np.testing.assert_allclose(gradient, np.asarray(numbers), rtol=1e-4, atol=1e-6)


def test_crd_and_its_banks(monkeypatch):
    x = given("crd")
    module = importlib.import_module("fdcmkd_jax.methods.crd")
    chosen = x["contrast_idx_pos_first"]
    monkeypatch.setattr(module, "_negatives", lambda *arguments: chosen[:, 1:])
    method = methods.make("crd", negatives=3, size=4)
    identity = {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}
    row = jnp.arange(6)
    memory = {
        "student": {"bank": x["memory_student"], "normalizer": jnp.zeros(())},
        "teacher": {"bank": x["memory_teacher"], "normalizer": jnp.zeros(())},
        "places": {"ids": row, "rows": row, "first": row, "count": jnp.ones(6, int)},
        "rng": jax.random.key_data(jax.random.key(0)),
        "step": jnp.zeros((), jnp.int32),
    }
    params = {"student": identity, "teacher": identity}
    teacher = outputs(features=x["teacher_embed_before_l2"])
    known = targets(2).replace(id=chosen[:, 0])

    def run(student):
        return method.run(params, outputs(features=student), teacher, known, memory)

    student = x["student_embed_before_l2"]
    assert_golden("crd", lambda s: run(s)[0]["contrast"], student)
    after = run(student)[1]
    for side, other in (("student", "teacher"), ("teacher", "student")):
        expected = GOLDEN["crd"]["outputs"][f"memory_{side}_after"]
        np.testing.assert_allclose(after[side]["bank"], expected, atol=1e-6)
        # Z of the student's loss is kept beside the bank that it reads, the teacher's.
        expected = GOLDEN["crd"]["parts"][f"Z_{side}"]
        np.testing.assert_allclose(after[other]["normalizer"], expected, rtol=1e-5)


def test_c2kd_and_its_gradients_on_all_four_predictions():
    x = given("c2kd")
    names = ("student_logits", "teacher_logits", "proxy_student_logits", "proxy_teacher_logits")
    predictions = [x[name] for name in names]
    known = targets(3, x["labels"], num_classes=5)

    def total(*predictions):
        terms = c2kd.distances(*predictions, known, 0.0)
        weighted = losses.combine(terms, dict.fromkeys(terms, 1.0))
        return jnp.mean(weighted + losses.cross_entropy(predictions[0], known.labels)), terms

    (value, terms), gradients = jax.jit(
        jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True)
    )(*predictions)
    expected, parts = GOLDEN["c2kd"]["outputs"], GOLDEN["c2kd"]["parts"]
    np.testing.assert_allclose(value, GOLDEN["c2kd"]["loss"], rtol=1e-5)
    for term, summed in {
        "teacher": ["ce_t"],
        "teacher_proxy": ["kl_gt_from_zt", "kl_zt_from_gt"],
        "student_proxy": ["kl_gs_from_zs", "kl_zs_from_gs"],
        "exchange": ["nt_gs_from_gt", "nt_gt_from_gs"],
    }.items():
        np.testing.assert_allclose(
            jnp.mean(terms[term]), sum(parts[name] for name in summed), rtol=1e-5
        )
    for gradient, numbers in zip(
        gradients,
        (
            GOLDEN["c2kd"]["grad_student"],
            expected["grad_teacher_logits"],
            expected["grad_proxy_student"],
            expected["grad_proxy_teacher"],
        ),
        strict=True,
    ):
        np.testing.assert_allclose(gradient, numbers, rtol=1e-4, atol=1e-6)
    tau = c2kd.rank_correlation(x["proxy_student_logits"], x["proxy_teacher_logits"])
    np.testing.assert_allclose(tau, expected["kendall_tau_b"], rtol=1e-6)


def test_the_edit_of_mgdfr():
    x = given("mgdfr_freeze_op")
    chosen = jnp.zeros(8, bool).at[x["channels"]].set(True)
    edited = mgdfr.freeze(x["teacher_feat"], chosen, jnp.ones(2, bool), None)
    np.testing.assert_allclose(edited, GOLDEN["mgdfr_freeze_op"]["outputs"]["frozen"], rtol=1e-6)


@pytest.mark.parametrize("kind", ["kl", "cv"])
def test_the_balance_of_mst(kind):
    entry = f"mst_load_balance_{kind}"
    x = given(entry)
    assert_golden(entry, lambda g: mst.balance_loss(jnp.mean(g, axis=0), kind), x["gate_probs"])


def test_the_route_of_mst():
    x = given("mst_top1_kd")
    chosen = mst.route(x["teacher_logits_n_e_k"], x["gate_probs"])

    def loss(student):
        return losses.soft_divergence(student, chosen, temperature=4.0)

    assert_golden("mst_top1_kd", loss, x["student_logits"])
