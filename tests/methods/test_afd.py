"""AFD."""

import golden_numbers as golden
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from builders import terms_fn
from toy_outputs import N, close, model, terms_of, unit, wide

from fdcmkd_jax import methods
from fdcmkd_jax.registry import ConfigError


def test_a_teachers_stage_attends_to_all_of_the_students_with_weights_that_add_up_to_one():
    # If all of the student's maps are alike, what attention prefers makes no difference.
    stages = {"a": (2, 2, 3), "b": (2, 2, 3)}
    student, teacher = model(0, maps=stages), model(1, maps={"a": (2, 2, 4)})
    same = student.replace(maps=dict.fromkeys(stages, student.maps["a"]))
    activity = [wide(x.maps["a"] ** 2).mean(axis=-1).reshape(N, 4) for x in (same, teacher)]
    expected = oracles.mean_squared_error(*map(unit, activity))
    close(terms_of("afd", same, teacher, size=3)["attention"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "method 'afd': size must be positive, got 0"),
    ],
)
def test_afd_refuses_a_bad_value(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("afd", **options)


def test_afd():
    inputs = golden.GOLDEN["afd"]["inputs"]

    def maps(owner):
        maps = enumerate(inputs[f"{owner}_maps_nhwc"], 1)
        return {f"stage{index}": jnp.asarray(x) for index, x in maps}

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
    student, teacher = maps("student"), golden.outputs(maps=maps("teacher"))
    size = len(student["stage1"])

    @jax.jit
    @jax.value_and_grad
    def loss(student):
        terms = terms_fn(methods.make("afd", size=2))(
            params, golden.outputs(maps=student), teacher, golden.targets(size)
        )
        return jnp.mean(terms["attention"])

    value, gradients = loss(student)
    np.testing.assert_allclose(value, golden.GOLDEN["afd"]["loss"], rtol=1e-5)
    expected = golden.GOLDEN["afd"]["outputs"]["grad_student_maps"]
    for gradient, numbers in zip(gradients.values(), expected, strict=True):
        np.testing.assert_allclose(gradient, np.asarray(numbers), rtol=1e-4, atol=1e-6)
