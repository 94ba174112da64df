"""DIST."""

import golden_numbers as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import terms_fn
from toy_outputs import KEPT, MASK, K, N, close, model, random, targets, terms_of

from fdcmkd_jax import methods


def test_dist_asks_for_no_more_than_the_teachers_prediction_mixed_with_the_uniform_one():
    teacher = model(1)
    mixed = 0.3 * jax.nn.softmax(teacher.logits) + 0.7 / K
    terms = terms_of("dist", model(0).replace(logits=jnp.log(mixed)), teacher)
    for term in ("inter", "intra"):
        # Correlations are 1 up to the rounding of a few sums.
        np.testing.assert_allclose(np.mean(terms[term][KEPT]), 0, atol=1e-5)


def test_every_position_of_dense_logits_is_an_example_to_dist():
    dense = [jnp.asarray(random(seed, N, 2, 3, K), jnp.float32) for seed in (0, 1)]
    flat = [x.reshape(-1, K) for x in dense]
    mask = np.repeat(MASK, 6)

    def means(logits, mask):
        student, teacher = (model(0).replace(logits=x) for x in logits)
        shown = targets().replace(mask=jnp.asarray(mask))
        terms = terms_fn(methods.make("dist"))({}, student, teacher, shown)
        return {name: np.mean(np.asarray(term)[mask]) for name, term in terms.items()}

    by_map, by_row = means(dense, MASK), means(flat, mask)
    for term in ("inter", "intra"):
        close(by_map[term], by_row[term])


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        ("dist_tau1", "logits", {}, {"inter": 1.0, "intra": 1.0}),
        ("dist_tau4", "logits", {"temperature": 4.0}, {"inter": 1.0, "intra": 1.0}),
    ],
)
def test_dist_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("dist", **options), weights)


def test_each_term_of_dist_is_the_golden_one():
    method = methods.make("dist")
    golden.check_parts("dist_tau1", "logits", method, {"inter": "inter", "intra": "intra"})
