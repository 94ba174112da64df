"""The memory of methods."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from method_cases import (
    PADDED,
    N,
    build,
    each_case,
    each_memory,
    has_memory,
    set_up,
    start_memory,
    targets,
    train_targets,
)


@each_memory
def test_a_memory_keeps_its_structure_and_is_equal_on_all_devices(name, options):
    _, params, student, teacher, _ = set_up(name, options)
    batch = (student, teacher, targets(mask=PADDED))
    memory = start_memory(build(name, options), student, teacher)

    def after(axis_name, *batch):
        return build(name, options, axis_name).terms(params, memory, *batch)[1]

    one = jax.jit(functools.partial(after, None))(*batch)
    shares = jax.tree.map(lambda x: x.reshape(2, N // 2, *x.shape[1:]), batch)
    devices = jax.devices()[:2]
    mapped = jax.pmap(functools.partial(after, "devices"), axis_name="devices", devices=devices)
    first, second = (jax.tree.map(lambda x, at=at: x[at], mapped(*shares)) for at in (0, 1))
    chex.assert_trees_all_equal_shapes_and_dtypes(one, memory)
    chex.assert_trees_all_equal(first, second)
    chex.assert_trees_all_close(one, first, rtol=1e-5)
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(memory), strict=True)
    assert any(np.any(x != y) for x, y in leaves)


@each_memory
def test_a_memory_ignores_hidden_labels_and_padding(name, options):
    method = build(name, options)
    _, params, student, teacher, _ = set_up(name, options)
    padded, split = targets(mask=PADDED), train_targets()
    relabelled = split.replace(labels=jnp.where(split.labelled, split.labels, 0))
    memory, same = (start_memory(method, student, teacher, part) for part in (split, relabelled))
    chex.assert_trees_all_equal(memory, same)
    changed = jax.tree.map(lambda x: x.at[~PADDED].multiply(30), (student, teacher))
    terms = jax.jit(method.terms)
    expected = terms(params, memory, student, teacher, padded)[1]
    actual = terms(params, memory, *changed, padded)[1]
    chex.assert_trees_all_close(actual, expected, rtol=1e-5)


@each_case
def test_a_method_without_memory_returns_it_unchanged(name, options):
    method = build(name, options)
    _, params, student, teacher, shown = set_up(name, options)
    if has_memory(name, options):
        return
    memory = start_memory(method, student, teacher)
    assert jax.tree.leaves(memory) == []
    _, after = jax.eval_shape(method.terms, params, memory, student, teacher, shown)
    assert jax.tree.structure(after) == jax.tree.structure(memory)
