"""Parts that several methods share: linear maps, stages, checks."""

import jax
import jax.numpy as jnp
import pytest
from builders import init_fn
from toy_outputs import K, N, close, model, targets, terms_of

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError


@pytest.mark.parametrize("name", ["dkd", "mlld", "ofa"])
def test_dense_logits_are_refused_where_one_prediction_is_needed(name):
    student = model(0).replace(logits=jnp.zeros((N, 2, 2, K)))
    with pytest.raises(ValueError, match=rf"{name} needs one prediction per example, .* \(4, 2, 2"):
        init_fn(methods.make(name))(jax.random.key(0), student, student, K)


@pytest.mark.parametrize("name", ["fitnet", "pkd"])
def test_the_students_map_is_resized_to_the_teachers(name):
    student, teacher = model(0, maps={"a": (4, 2, 3)}), model(1, maps={"a": (2, 2, 3)})
    # Halving, without smoothing, is the mean of the two cells around each new center.
    halved = student.maps["a"].reshape(N, 2, 2, 2, 3).mean(axis=2)
    options = {"stage": "a", **({"regressor": False} if name == "fitnet" else {})}
    actual = terms_of(name, student, teacher, **options)
    expected = terms_of(name, student.replace(maps={"a": halved}), teacher, **options)
    close(actual["feature"], expected["feature"])


@pytest.mark.parametrize("name", ["fitnet", "pkd", "sp"])
def test_a_stage_that_a_model_lacks_is_named_with_those_it_has(name):
    student, teacher = model(0, maps={"stage1": (2, 2, 3)}), model(1, maps={"stage2": (2, 2, 3)})
    method = methods.make(name, stage="stage1")
    with pytest.raises(ConfigError, match=r"^unknown stage 'stage1'; known: stage2"):
        init_fn(method)(jax.random.key(0), student, teacher, K)


@pytest.mark.parametrize("name", ["ofa", "afd"])
def test_methods_of_stages_need_maps(name):
    with pytest.raises(ValueError, match=rf"{name} needs a student .*maps of"):
        init_fn(methods.make(name))(jax.random.key(0), model(0), model(1), K)


@pytest.mark.parametrize("name", ["contrastive", "displacement", "rkd"])
def test_relations_of_sequences_are_those_of_their_means(name):
    student, teacher = (model(seed, rest=(3,)) for seed in (0, 1))
    pooled = [x.replace(features=x.features.mean(axis=1)) for x in (student, teacher)]
    actual, expected = terms_of(name, student, teacher), terms_of(name, *pooled)
    for term, value in expected.items():
        close(actual[term], value)


@pytest.mark.parametrize("name", ["contrastive", "displacement", "dist", "dkd", "ofa", "kd"])
def test_a_temperature_must_be_positive(name):
    with pytest.raises(ConfigError, match=f"method '{name}': temperature must be positive"):
        methods.make(name, temperature=0.0)


def test_a_method_whose_terms_are_a_function_alone_keeps_an_empty_memory():
    def terms(params, student, teacher, targets):
        return {"error": jnp.sum((student.features - teacher.features) ** 2, axis=-1)}

    method = methods.stateless(terms, names=("error",))
    params, memory = method.init(jax.random.key(0), model(0), model(1), K)
    values, after = method.terms(params, memory, model(0), model(1), targets())
    assert params == memory == after == {}
    assert values["error"].shape == (N,)
