"""Every method with options that change its terms, and inputs for tests of all of them."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import terms_fn

from fdcmkd_jax import losses, methods
from fdcmkd_jax.types import Outputs, Targets

N, K, STUDENT_WIDTH, TEACHER_WIDTH = 4, 3, 12, 8
HIDDEN = np.array([False, True, False, True])
PADDED = np.array([True, True, True, False])  # Two devices hold unequal shares of it.

# Shapes by stage without N: the two models' maps differ in number, size and width.
MAPS = [
    {"stage1": (5, 4, 6), "stage2": (3, 2, 5), "stage3": (2, 2, 4)},
    {"stage1": (4, 4, 7), "stage2": (2, 2, 5), "stage3": (1, 1, 8), "stage4": (1, 1, 3)},
]

MADE_OF_OTHERS = ("join", "multi_teacher")  # These need to be told of which.

# Every method as it comes, and those whose options change its terms.
CASES = [(name, {}) for name in methods.names() if name not in MADE_OF_OTHERS] + [
    ("join", {"methods": {"fd_cmkd": {"cutoff": 0.25}, "mse": {}, "rkd": {}}}),
    ("join", {"methods": {"crd": {"negatives": 5}, "mse": {}}}),
    ("multi_teacher", {"method": {"name": "fd_cmkd"}, "gates": "learned"}),
    (
        "multi_teacher",
        {"method": {"name": "pkd", "stage": "stage1"}, "shares": {"a": 3.0, "b": 1.0}},
    ),
    ("multi_teacher", {"method": {"name": "crd", "negatives": 5}}),
    ("crd", {"negatives": 5, "size": 6}),
    ("cirkd", {"pixel_memory": 5, "region_memory": 3, "pixel_contrast": 9, "region_contrast": 3}),
    ("c2kd", {"threshold": -1.0}),
    ("mgdfr", {"align_steps": 3}),
    ("mst", {"start_steps": 3, "mask_steps": 20, "size": 3}),
    ("mst", {"start_steps": 3, "mask_steps": 3, "size": 3, "balance": "cv"}),
    ("contrastive", {"targets": "smoothed"}),
    ("contrastive", {"targets": "low_band"}),
    ("fitnet", {"stage": "stage1"}),
    ("fitnet", {"regressor": False}),
    ("ofa", {"gamma": 1.5}),
    ("pkd", {"stage": "stage1"}),
    ("sp", {"stage": "stage2"}),
    ("fd_cmkd", {"cutoff": 0.25, "reduction": "sum", "pseudo_labels": False}),
    ("fd_cmkd", {"shared_heads": False}),
    ("fd_cmkd", {"auxiliary_heads": False}),
    ("fd_cmkd", {"basis": "dct", "soft_cutoff": True}),
    ("fd_cmkd", {"basis": "haar", "normalize": "before"}),
    ("fd_cmkd", {"basis": "random", "normalize": "rms", "low_loss": "log_mse"}),
    ("fd_cmkd", {"basis": "learned", "high_loss": "none"}),
    ("fd_cmkd", {"basis": "none", "normalize": "none"}),
    ("fd_cmkd", {"keep_dc": True}),
]
each_case = pytest.mark.parametrize(
    ("name", "options"),
    CASES,
    ids=[
        "-".join([name, *(f"{k}={v}" for k, v in options.items() if k != "methods")])
        for name, options in CASES
    ],
)


def build(name, options, axis_name=None):
    """A method from plain options, those it is made of first."""
    options = dict(options)
    if "methods" in options:
        parts = options["methods"].items()
        options["methods"] = {part: build(part, changes, axis_name) for part, changes in parts}
    if "method" in options:
        inner = dict(options["method"])
        options["method"] = build(inner.pop("name"), inner, axis_name)
    return methods.make(name, axis_name=axis_name, **options)


def has_memory(name, options):
    parts = (name, *options.get("methods", ()), options.get("method", {}).get("name"))
    return bool({"cirkd", "crd", "mgdfr", "mst"} & {*parts})


each_memory = pytest.mark.parametrize(
    ("name", "options"),
    [case for case in CASES if has_memory(*case)],
    ids=str,
)


def outputs(seed, width, *, rest=()):
    """Outputs of a model, with maps as in `MAPS`."""
    rng = np.random.default_rng(seed)
    return Outputs(
        logits=jnp.asarray(rng.normal(size=(N, K)), jnp.float32),
        features=jnp.asarray(rng.normal(size=(N, *rest, width)), jnp.float32),
        maps={
            stage: jnp.asarray(rng.normal(size=(N, *shape)), jnp.float32)
            for stage, shape in MAPS[seed % 2].items()
        },
    )


def targets(labels=(0, 1, 2, 1), hidden=HIDDEN, mask=(True,) * N, ids=(12, 4, 7, 9)):
    return Targets(
        labels=jnp.asarray(labels, jnp.int32),
        labelled=jnp.asarray(~hidden),
        mask=jnp.asarray(mask),
        num_classes=K,
        label_loss=losses.cross_entropy,
        id=jnp.asarray(ids, jnp.int32),
    )


def train_targets():
    """A training split in which the batch lies."""
    labels, ids = (2, 1, 0, 1, 0, 1, 2, 0, 2), (3, 4, 5, 6, 8, 9, 7, 12, 11)
    hidden = np.isin(ids, (4, 9))
    return targets(labels, hidden=hidden, mask=(True,) * len(ids), ids=ids)


def make(name, **options):
    """A method as `methods.make` builds it; one with a memory at its step 7, always."""
    axis_name = options.pop("axis_name", None)
    method = build(name, options, axis_name)
    if not has_memory(name, options):
        return method

    def terms(params, memory, student, teacher, targets):
        with jax.ensure_compile_time_eval():
            memory = start_memory(method, student, teacher)
            if "step" in memory:
                memory = {**memory, "step": jnp.int32(7)}
        return method.terms(params, memory, student, teacher, targets)[0], {}

    return method._replace(terms=terms)


def start_memory(method, student, teacher, train=None, key=3):
    """The memory of a method at its start, for outputs of which only the shapes matter."""
    train = train_targets() if train is None else train
    student, teacher = (
        jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree) for tree in (student, teacher)
    )
    return method.init(jax.random.key(key), student, teacher, K, train)[1]


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def set_up(name, options, *, student_width=STUDENT_WIDTH):
    """A method with its parameters, a student and a teacher of another width, and targets."""
    return _set_up(name, json.dumps(options), student_width)


@functools.cache
def _set_up(name, options, student_width):
    method = make(name, **json.loads(options))
    student, teacher = outputs(0, student_width), outputs(1, TEACHER_WIDTH)
    if method.needs.several_teachers:
        teacher = {"a": teacher, "b": outputs(3, TEACHER_WIDTH)}
    params = method.init(jax.random.key(0), student, teacher, K, train_targets())[0]
    return method, params, student, teacher, targets()


# Compiled once for all tests: one by one the operations take seconds.
compiled = functools.cache(jax.jit)


def term_gradients(method, params, batch):
    """Each term's gradient in the method's own parameters."""

    def totals(params):
        return jax.tree.map(jnp.sum, terms_fn(method)(params, *batch))

    return jax.jit(jax.jacrev(totals))(params)
