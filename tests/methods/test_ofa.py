"""OFA-KD."""

import golden_numbers as golden
import jax
import numpy as np
import oracles
import pytest
from builders import init_fn
from toy_outputs import K, close, model, terms_of, wide

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError


def test_ofa_teaches_every_stage_by_its_own_classifier():
    student, teacher = model(0, maps={"b": (2, 2, 3), "a": (4, 4, 2)}), model(1)
    method = methods.make("ofa")
    params = init_fn(method)(jax.random.key(0), student, teacher, K)
    heads = method.heads(params, student)
    assert sorted(heads) == ["a", "b"]
    wanted = np.exp(oracles.log_softmax(teacher.logits))

    def loss(logits):
        return -np.sum(wanted * oracles.log_softmax(logits), axis=1)

    terms = terms_of("ofa", student, teacher, params=params)
    close(terms["logits"], loss(student.logits))
    close(terms["stages"], loss(heads["a"]) + loss(heads["b"]))
    for stage in ("a", "b"):
        pooled = wide(student.maps[stage]).mean(axis=(1, 2))
        hidden = np.maximum(pooled @ wide(params[stage]["hidden"]["kernel"]), 0)
        close(heads[stage], hidden @ wide(params[stage]["last"]["kernel"]))


def test_ofa_reads_labels_only_if_gamma_is_above_one():
    assert methods.ofa(gamma=1.0).label_terms == frozenset()
    assert methods.ofa(gamma=1.5).label_terms == {"logits", "stages"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.5}, "gamma must be at least 1, got 0.5"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
    ],
)
def test_ofa_refuses_a_bad_value(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("ofa", **options)


@pytest.mark.parametrize(
    ("entry", "part", "options", "weights"),
    [
        ("ofa_gamma1p0", "logits", {}, {"logits": 1.0, "stages": 0.0}),
        ("ofa_gamma1p5", "logits", {"gamma": 1.5}, {"logits": 1.0, "stages": 0.0}),
    ],
)
def test_ofa_gives_the_golden_loss_and_gradient(entry, part, options, weights):
    golden.check_method(entry, part, methods.make("ofa", **options), weights)
