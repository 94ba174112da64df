"""MST-Distill."""

import chex
import golden_numbers as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_outputs import K, model, targets

from fdcmkd_jax import losses, methods
from fdcmkd_jax.methods.mst import balance_loss, route
from fdcmkd_jax.registry import ConfigError


def start_mst(**options):
    """A method with its parameters, a student, a teacher, and the memory at the start."""
    student = model(0)
    teacher = model(1, maps={"stage1": (2, 2, 6), "stage2": (2, 1, 7)})
    method = methods.make("mst", **{"start_steps": 2, "mask_steps": 3, "size": 3, **options})
    params, memory = method.init(jax.random.key(0), student, teacher, K)
    return method, params, student, teacher, memory


def test_each_part_of_mst_has_its_own_terms_and_trains_its_own_parameters():
    method, params, student, teacher, memory = start_mst()

    @jax.jit
    def run(step):
        def total(student, params):
            now = {**memory, "step": step}
            terms, _ = method.terms(params, now, student, teacher, targets())
            return sum(jnp.sum(term) for term in terms.values()), terms

        return jax.grad(total, argnums=(0, 1), has_aux=True)(student, params)

    def moves(tree):
        return any(np.any(gradient != 0) for gradient in jax.tree.leaves(tree))

    for step, names, groups in (
        (1, {"start", "mutual"}, {"student", "classifier"}),
        (2, {"mask"}, {"mask"}),
        (4, {"mask"}, {"mask"}),
        (5, {"route", "balance"}, {"student", "gate"}),
    ):
        (by_student, by_params), terms = run(step)
        assert {name for name, term in terms.items() if np.any(term != 0)} == names
        specialists = by_params["specialists"].values()
        moved = {
            part
            for part in ("classifier", "mask")
            for specialist in specialists
            if moves(specialist[part])
        }
        moved |= {"gate"} if moves(by_params["gate"]) else set()
        moved |= {"student"} if moves(by_student) else set()
        assert moved == groups, step


def test_the_specialists_of_the_third_part_are_those_at_its_start():
    method, params, student, teacher, memory = start_mst()
    terms_of_step = jax.jit(method.terms)
    at = {**memory, "step": jnp.int32(5)}
    expected, at = terms_of_step(params, at, student, teacher, targets())
    chex.assert_trees_all_equal(at["specialists"], params["specialists"])
    doubled = jax.tree.map(lambda x: 2 * x, params["specialists"])
    actual, _ = terms_of_step({**params, "specialists": doubled}, at, student, teacher, targets())
    np.testing.assert_array_equal(actual["route"], expected["route"])


@pytest.mark.parametrize("kind", ["kl", "cv"])
def test_even_use_of_the_specialists_costs_nothing_and_uneven_use_does(kind):
    even, uneven = (balance_loss(jnp.asarray(use), kind) for use in ([0.5, 0.5], [0.9, 0.1]))
    np.testing.assert_allclose(even, 0, atol=1e-6)
    assert uneven > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_steps": 0}, "start_steps and mask_steps must be positive, got 0 and 3"),
        ({"size": 4}, "size must be a positive multiple of 3, got 4"),
        ({"balance": "max"}, "balance must be 'kl' or 'cv', got 'max'"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_mst_refuses_a_value_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        start_mst(**options)


def test_mst_needs_two_stages():
    with pytest.raises(ValueError, match="at least two of its stages"):
        start_mst(stages=["stage1"])


@pytest.mark.parametrize("kind", ["kl", "cv"])
def test_the_balance_of_mst(kind):
    entry = f"mst_load_balance_{kind}"
    x = golden.inputs(entry)
    golden.check(entry, lambda g: balance_loss(jnp.mean(g, axis=0), kind), x["gate_probs"])


def test_the_route_of_mst():
    x = golden.inputs("mst_top1_kd")
    chosen = route(x["teacher_logits_n_e_k"], x["gate_probs"])

    def loss(student):
        return losses.soft_divergence(student, chosen, temperature=4.0)

    golden.check("mst_top1_kd", loss, x["student_logits"])
