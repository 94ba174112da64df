"""C2KD."""

import golden_numbers as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from toy_outputs import K, N, model, targets, terms_of

from fdcmkd_jax import losses, methods
from fdcmkd_jax.methods.c2kd import distances, rank_correlation
from fdcmkd_jax.registry import ConfigError


def test_rank_correlation_is_kendalls_tau_b_with_ties():
    x, y = np.random.default_rng(0).integers(0, 4, (2, 30, 6)).astype(np.float32)
    x[0] = 1.0  # Without any order.
    expected = [stats.kendalltau(*rows, variant="b").statistic for rows in zip(x, y, strict=True)]
    actual = rank_correlation(jnp.asarray(x), jnp.asarray(y))
    assert np.isnan(actual[0])
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_c2kd_exchanges_only_where_ranks_agree_more_than_the_threshold():
    student, teacher = (
        model(seed, maps={"stage3": (2, 2, width)}) for seed, width in ((0, 6), (1, 7))
    )
    never = terms_of("c2kd", student, teacher, threshold=0.999)["exchange"]
    always = terms_of("c2kd", student, teacher, threshold=-1.0)["exchange"]
    np.testing.assert_array_equal(never, np.zeros(N))
    assert np.sum(np.asarray(always) > 0) >= 3


def test_a_proxy_of_constant_logits_exchanges_nothing_and_has_finite_gradients():
    constant = jnp.zeros((N, K))

    def total(proxy):
        predictions = (model(0).logits, model(1).logits)
        terms = distances(*predictions, proxy, model(2).logits, targets(), 0.0)
        return jnp.sum(terms["exchange"]), terms["exchange"]

    gradient, exchange = jax.grad(total, has_aux=True)(constant)
    np.testing.assert_array_equal(exchange, np.zeros(N))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"threshold": 1.0}, r"threshold must lie in \[-1, 1\), got 1.0")],
)
def test_c2kd_refuses_a_threshold_that_nothing_exceeds(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("c2kd", **options)


def test_c2kd_and_its_gradients_on_all_four_predictions():
    x = golden.inputs("c2kd")
    names = ("student_logits", "teacher_logits", "proxy_student_logits", "proxy_teacher_logits")
    predictions = [x[name] for name in names]
    shown = golden.targets(3, x["labels"], num_classes=5)

    def total(*predictions):
        terms = distances(*predictions, shown, 0.0)
        weighted = losses.combine(terms, dict.fromkeys(terms, 1.0))
        return jnp.mean(weighted + losses.cross_entropy(predictions[0], shown.labels)), terms

    (value, terms), gradients = jax.jit(
        jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True)
    )(*predictions)
    expected, parts = golden.GOLDEN["c2kd"]["outputs"], golden.GOLDEN["c2kd"]["parts"]
    np.testing.assert_allclose(value, golden.GOLDEN["c2kd"]["loss"], rtol=1e-5)
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
            golden.GOLDEN["c2kd"]["grad_student"],
            expected["grad_teacher_logits"],
            expected["grad_proxy_student"],
            expected["grad_proxy_teacher"],
        ),
        strict=True,
    ):
        np.testing.assert_allclose(gradient, numbers, rtol=1e-4, atol=1e-6)
    tau = rank_correlation(x["proxy_student_logits"], x["proxy_teacher_logits"])
    np.testing.assert_allclose(tau, expected["kendall_tau_b"], rtol=1e-6)
