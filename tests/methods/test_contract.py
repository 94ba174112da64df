"""The contract that every method keeps."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from builders import terms_fn
from method_cases import (
    HIDDEN,
    MADE_OF_OTHERS,
    PADDED,
    STUDENT_WIDTH,
    TEACHER_WIDTH,
    K,
    N,
    abstract,
    compiled,
    each_case,
    make,
    outputs,
    set_up,
    targets,
    train_targets,
)
from step_setting import SAME_BITS

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Outputs


@each_case
@pytest.mark.parametrize("student_width", [STUDENT_WIDTH, TEACHER_WIDTH])
def test_terms_are_the_named_ones_with_one_float32_for_each_example(name, options, student_width):
    method, *arguments = set_up(name, options, student_width=student_width)
    terms = jax.eval_shape(terms_fn(method), *arguments)
    assert sorted(terms) == sorted(method.names)
    assert len(set(method.names)) == len(method.names)
    for term in terms.values():
        assert (term.shape, term.dtype) == ((N,), jnp.float32)


@each_case
def test_terms_of_bfloat16_outputs_are_float32(name, options):
    method, params, student, teacher, shown = set_up(name, options)
    student, teacher = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (student, teacher))
    terms = jax.eval_shape(terms_fn(method), params, student, teacher, shown)
    assert all(term.dtype == jnp.float32 for term in terms.values())


@each_case
def test_terms_that_read_labels_are_among_the_names(name, options):
    method = make(name, **options)
    assert method.label_terms <= set(method.names)
    assert "task" not in method.names  # that one is the task's


@each_case
def test_only_terms_that_read_labels_change_with_a_hidden_label(name, options):
    method, params, student, teacher, shown = set_up(name, options)
    relabelled = shown.replace(labels=jnp.where(HIDDEN, (shown.labels + 1) % K, shown.labels))
    terms = compiled(terms_fn(method))
    before, after = (terms(params, student, teacher, part) for part in (shown, relabelled))
    for term in method.names:
        if term in method.label_terms:
            same = np.asarray(before[term] == after[term])
            assert np.all(same[~HIDDEN]), term
            # Some leave examples out altogether.
            assert np.all(~same[HIDDEN] | (before[term][HIDDEN] == 0)), term
        else:
            np.testing.assert_array_equal(before[term], after[term], err_msg=term)


@each_case
def test_gradients_of_every_term_are_finite_for_any_outputs_and_for_zeros(name, options):
    method, params, student, teacher, shown = set_up(name, options)

    @jax.jit
    def gradients(params, student, teacher):
        def total(params, student, term):
            return jnp.sum(terms_fn(method)(params, student, teacher, shown)[term])

        return {term: jax.grad(total, (0, 1))(params, student, term) for term in method.names}

    for scale in (1.0, 0.0):
        scaled = optax.tree.scale(scale, (student, teacher))
        for term, trees in gradients(params, *scaled).items():
            for gradient in jax.tree.leaves(trees):
                assert np.isfinite(gradient).all(), (term, scale)


@each_case
def test_gradients_are_finite_where_student_and_teacher_agree(name, options):
    method = make(name, **options)
    student = outputs(0, STUDENT_WIDTH)
    same = {"a": student, "b": student} if method.needs.several_teachers else student
    params, _ = method.init(jax.random.key(0), student, same, K, train_targets())

    @jax.jit
    @jax.grad
    def gradients(student, teacher):
        terms = terms_fn(method)(params, student, teacher, targets())
        return sum((jnp.sum(term) for term in terms.values()), start=jnp.zeros(()))

    for gradient in jax.tree.leaves(gradients(student, same)):
        assert np.isfinite(gradient).all()


@each_case
def test_padding_changes_no_other_example_and_gets_no_gradient(name, options):
    method, params, student, teacher, _ = set_up(name, options)
    padded = targets(mask=PADDED)

    @jax.jit
    def values_and_gradients(student, teacher):
        def total(student):
            terms = terms_fn(method)(params, student, teacher, padded)
            kept = {name: jnp.where(PADDED, term, 0) for name, term in terms.items()}
            return sum((jnp.sum(x) for x in kept.values()), start=jnp.zeros(())), kept

        return jax.value_and_grad(total, has_aux=True)(student)

    (_, before), gradients = values_and_gradients(student, teacher)
    changed = jax.tree.map(lambda x: x.at[~PADDED].multiply(30), (student, teacher))
    (_, after), _ = values_and_gradients(*changed)
    for term in method.names:
        np.testing.assert_allclose(before[term], after[term], rtol=1e-5, atol=1e-7, err_msg=term)
    for gradient in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(gradient[~PADDED], np.zeros(gradient[~PADDED].shape))


@each_case
def test_two_devices_with_uneven_padding_give_the_loss_and_gradients_of_one(name, options):
    _, params, student, teacher, _ = set_up(name, options)
    batch = (student, teacher, targets(mask=PADDED))

    def step(axis_name, params, student, teacher, shown):
        method = make(name, axis_name=axis_name, **options)

        def everywhere(x):
            return jax.lax.psum(x, axis_name) if axis_name else x

        def losses_and_total(params, student):
            terms = terms_fn(method)(params, student, teacher, shown)
            count = everywhere(jnp.sum(shown.mask))
            means = {
                term: jnp.sum(jnp.where(shown.mask, value, 0)) / count
                for term, value in terms.items()
            }
            # Weights that differ, so that no two terms' errors cancel.
            weighted = (weight * means[term] for weight, term in enumerate(method.names, 1))
            return sum(weighted, start=jnp.zeros(())), means

        by_both = jax.grad(losses_and_total, (0, 1), has_aux=True)
        (by_params, by_student), means = by_both(params, student)
        return everywhere((by_params, means)), by_student

    (by_params, means), by_student = jax.jit(functools.partial(step, None))(params, *batch)
    mapped = jax.pmap(
        functools.partial(step, "devices"),
        axis_name="devices",
        in_axes=(None, 0, 0, 0),
        out_axes=(None, 0),
        devices=jax.devices()[:2],
    )
    shares = jax.tree.map(lambda x: x.reshape(2, N // 2, *x.shape[1:]), batch)
    (by_params_2, means_2), by_student_2 = mapped(params, *shares)
    by_student_2 = jax.tree.map(lambda x: x.reshape(N, *x.shape[2:]), by_student_2)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, means_2, means)
    jax.tree.map(close, by_params_2, by_params)
    jax.tree.map(close, by_student_2, by_student)


@each_case
def test_permuting_the_batch_permutes_every_term(name, options):
    method, params, *batch = set_up(name, options)
    order = np.array([2, 0, 3, 1])
    terms = compiled(terms_fn(method))
    expected = terms(params, *batch)
    actual = terms(params, *jax.tree.map(lambda x: x[order], batch))
    for term, value in actual.items():
        np.testing.assert_allclose(value, expected[term][order], rtol=1e-5, err_msg=term)


@each_case
def test_terms_are_the_same_without_jit(name, options):
    method, *arguments = set_up(name, options)
    program = compiled(terms_fn(method)).lower(*arguments).compile(SAME_BITS)
    expected = program(*arguments)
    for term, value in terms_fn(method)(*arguments).items():
        np.testing.assert_allclose(value, expected[term], rtol=1e-5, err_msg=term)


@each_case
def test_a_method_that_reads_the_teachers_maps_says_so(name, options):
    method, params, student, teacher, shown = set_up(name, options)
    without = jax.tree.map(
        lambda outputs: outputs.replace(maps={}), teacher, is_leaf=lambda x: isinstance(x, Outputs)
    )
    if method.needs.teacher_maps:
        with pytest.raises((ConfigError, ValueError, KeyError)):
            terms_fn(method)(params, student, without, shown)
    else:
        expected = compiled(terms_fn(method))(params, student, teacher, shown)
        actual = jax.jit(terms_fn(method))(params, student, without, shown)
        jax.tree.map(np.testing.assert_array_equal, actual, expected)


@each_case
def test_init_depends_on_the_key_and_on_shapes_alone(name, options):
    method, params, student, teacher, _ = set_up(name, options)
    shapes = abstract(student), abstract(teacher)
    again, _ = method.init(jax.random.key(0), *shapes, K, train_targets())
    jax.tree.map(np.testing.assert_array_equal, again, params)
    redrawn, _ = method.init(jax.random.key(1), student, teacher, K, train_targets())
    drawn, another_draw = (
        [leaf for name in tree if name != "gate" for leaf in jax.tree.leaves(tree[name])]
        for tree in (params, redrawn)
    )  # Gates start equal, which is at zero.
    for kernel, another in zip(drawn, another_draw, strict=True):
        if kernel.ndim > 1:
            assert np.all(kernel != another)


@each_case
def test_parameters_are_float32(name, options):
    _, params, *_ = set_up(name, options)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@each_case
def test_no_two_kernels_start_alike(name, options):
    _, params, *_ = set_up(name, options, student_width=TEACHER_WIDTH)
    kernels = [leaf.ravel() for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    for index, kernel in enumerate(kernels):
        assert not any(np.array_equal(kernel, earlier) for earlier in kernels[:index])


@each_case
def test_heads_classify_every_example_from_the_student_alone(name, options):
    method, params, student, *_ = set_up(name, options)
    heads = jax.eval_shape(method.heads, params, student)
    assert isinstance(heads, dict)
    for logits in heads.values():
        assert (logits.shape, logits.dtype) == ((N, K), jnp.float32)


@pytest.mark.parametrize("name", sorted({*methods.names()} - {*MADE_OF_OTHERS}))
def test_a_method_needs_no_option_and_documents_each_term(name):
    constructor = methods.TABLE[name]
    documentation = inspect.getdoc(constructor)
    for term in methods.make(name).names:
        assert f"    {term}: ``[N]``" in documentation
