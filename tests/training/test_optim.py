import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import optim

RUN = dict(learning_rate=0.01, num_epochs=100, steps_per_epoch=7)


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def polynomial(progress, start=1e-2, end=1e-4, power=0.9):
    return end + (start - end) * (1 - progress) ** power


@pytest.mark.parametrize("epoch", [0, 1, 10, 50, 90, 99])
def test_polynomial_rate_follows_the_papers_formula_by_epoch(epoch):
    actual = optim.schedule(**RUN)(7 * epoch)
    np.testing.assert_allclose(actual, polynomial(epoch / 100), rtol=1e-5)


def test_rate_per_epoch_is_the_same_at_every_step_of_an_epoch():
    assert len(set(rates(optim.schedule(**RUN), range(21, 28)))) == 1
    assert optim.schedule(**RUN)(28) < optim.schedule(**RUN)(27)


def test_rate_per_step_falls_with_every_step():
    schedule = optim.schedule(**RUN, per="step")
    steps = np.arange(0, 700, 50)
    np.testing.assert_allclose(rates(schedule, steps), polynomial(steps / 700), rtol=1e-5)


def test_polynomial_rate_stays_at_its_end_after_the_last_epoch():
    np.testing.assert_allclose(rates(optim.schedule(**RUN), [700, 7000]), 1e-4, rtol=1e-5)


def test_power_and_end_of_the_decay_can_be_chosen():
    schedule = optim.schedule(**RUN, power=2.0, end_learning_rate=0.0)
    np.testing.assert_allclose(schedule(7 * 75), 0.01 * 0.25**2, rtol=1e-5)


@pytest.mark.parametrize("epoch", [0, 25, 50, 100])
def test_cosine_rate_runs_from_start_to_end_along_half_a_wave(epoch):
    actual = optim.schedule(**RUN, name="cosine")(7 * epoch)
    expected = 1e-4 + (1e-2 - 1e-4) * (1 + math.cos(math.pi * epoch / 100)) / 2
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_constant_rate_never_changes():
    schedule = optim.schedule(**RUN, name="constant")
    np.testing.assert_allclose(rates(schedule, [0, 350, 9999]), 0.01, rtol=1e-7)


@pytest.mark.parametrize("name", sorted(optim.SCHEDULES))
def test_warmup_scales_the_decay_in_proportion_and_then_leaves_it_alone(name):
    plain = optim.schedule(**RUN, name=name)
    warm = optim.schedule(**RUN, name=name, warmup_steps=4)
    steps = range(6)
    expected = np.array([0.25, 0.5, 0.75, 1, 1, 1]) * rates(plain, steps)
    np.testing.assert_allclose(rates(warm, steps), expected, rtol=1e-6)


def test_rate_can_be_asked_for_inside_a_compiled_step():
    schedule = optim.schedule(**RUN, warmup_steps=4)
    actual = jax.jit(jax.vmap(schedule))(jnp.arange(20))
    np.testing.assert_allclose(actual, rates(schedule, range(20)), rtol=1e-6)


def follow(transformation, start, gradients):
    """Parameters after each update."""
    params, state, seen = start, transformation.init(start), []
    for gradient in gradients:
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_takes_the_steps_that_pytorch_defines(weight_decay, rng):
    start = rng.normal(size=5).astype(np.float32)
    gradients = rng.normal(size=(6, 5)).astype(np.float32)
    transformation, rate = optim.make(
        learning_rate=0.3, num_epochs=3, steps_per_epoch=2, weight_decay=weight_decay
    )
    actual = follow(transformation, jnp.asarray(start), jnp.asarray(gradients))

    params, velocity = start.astype(np.float64), np.zeros(5)
    for step, gradient in enumerate(gradients):
        velocity = 0.9 * velocity + gradient + weight_decay * params
        params = params - polynomial((step // 2) / 3, start=0.3) * velocity
        np.testing.assert_allclose(actual[step], params, rtol=0, atol=1e-5)
    assert float(rate(2)) == pytest.approx(polynomial(1 / 3, start=0.3), rel=1e-5)


def test_sgd_without_momentum_follows_the_gradient_alone():
    transformation, _ = optim.make(
        learning_rate=0.5, num_epochs=1, steps_per_epoch=9, momentum=0.0, schedule_name="constant"
    )
    actual = follow(transformation, jnp.zeros(1), jnp.array([[1.0], [-3.0]]))
    np.testing.assert_allclose(jnp.concatenate(actual), [-0.5, 1.0], rtol=1e-6)


def test_adamw_decays_weights_apart_from_the_gradient():
    transformation, _ = optim.make(
        name="adamw",
        learning_rate=0.1,
        num_epochs=1,
        steps_per_epoch=1,
        weight_decay=0.5,
        schedule_name="constant",
    )
    actual = follow(transformation, jnp.array([2.0, 2.0]), [jnp.array([7.0, 0.0])])[0]
    # Adam's first step has the size of the rate whatever the gradient; decay takes 0.1 * 0.5 * 2.
    np.testing.assert_allclose(actual, [2 - 0.1 - 0.1, 2 - 0.1], rtol=1e-5)


def test_clipping_shortens_a_long_gradient_to_the_limit_and_leaves_a_short_one():
    transformation, _ = optim.make(
        learning_rate=1.0,
        num_epochs=1,
        steps_per_epoch=9,
        momentum=0.0,
        schedule_name="constant",
        max_gradient_norm=1.0,
    )
    state = transformation.init({"a": jnp.zeros(1), "b": jnp.zeros(1)})
    for gradient, expected in (([30.0, 40.0], [-0.6, -0.8]), ([0.3, 0.4], [-0.3, -0.4])):
        tree = {"a": jnp.array(gradient[:1]), "b": jnp.array(gradient[1:])}
        updates, _ = transformation.update(tree, state, tree)
        np.testing.assert_allclose([updates["a"][0], updates["b"][0]], expected, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
@pytest.mark.parametrize("schedule_name", sorted(optim.SCHEDULES))
def test_every_optimizer_descends_under_every_schedule(name, schedule_name):
    transformation, _ = optim.make(
        name=name,
        schedule_name=schedule_name,
        learning_rate=0.1,
        num_epochs=2,
        steps_per_epoch=10,
    )
    params = jnp.array([1.0])
    state = transformation.init(params)
    for _ in range(20):
        updates, state = transformation.update(2 * params, state, params)
        params = optax.apply_updates(params, updates)
    assert abs(float(params[0])) < 0.5


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adam"}, r"unknown optimizer 'adam'; known: adamw, sgd"),
        ({"schedule_name": "step"}, r"schedule must be one of \['constant', .*\], got 'step'"),
        ({"per": "batch"}, "per must be 'epoch' or 'step', got 'batch'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive .* got 0.0 and 0.0001"),
        ({"learning_rate": math.nan}, "learning_rate must be positive .* got nan"),
        ({"learning_rate": math.inf}, "both finite, got inf"),
        ({"end_learning_rate": -0.1}, "end_learning_rate not negative, .* and -0.1"),
        ({"warmup_steps": -1}, "warmup_steps must not be negative, got -1"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, r"momentum must lie in \[0, 1\), got -0.1"),
        ({"weight_decay": -1.0}, "must not be negative, got -1.0, 0.0 and 1.0"),
        ({"max_gradient_norm": -1.0}, "must not be negative, got 0.0, -1.0 and 1.0"),
    ],
    ids=lambda value: "-".join(map(str, value.items())) if isinstance(value, dict) else "",
)
def test_a_value_out_of_range_is_refused_with_what_was_expected(options, message):
    with pytest.raises(ValueError, match=message):
        optim.make(num_epochs=2, steps_per_epoch=3, **options)


def params_of(**modules):
    """Parameters of a model and of its method, as the training state holds them."""
    layer = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    return {"model": {"conv": layer, **modules}, "method": {"adapter": layer}}


def one_step(params, **options):
    """Parameters after one step of SGD without momentum against gradients of 1."""
    transformation, _ = optim.make(
        learning_rate=0.5,
        num_epochs=1,
        steps_per_epoch=9,
        momentum=0.0,
        schedule_name="constant",
        **options,
    )
    gradients = jax.tree.map(jnp.ones_like, params)
    return follow(transformation, params, [gradients])[0]


@pytest.mark.parametrize("classifier", optim.CLASSIFIERS)
def test_a_backbone_follows_a_fraction_of_the_rate(classifier):
    params = params_of(**{classifier: {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}})
    after = one_step(params, backbone_scale=0.1)
    for layer, expected in (
        (after["model"]["conv"], 1 - 0.05),
        (after["model"][classifier], 1 - 0.5),
        (after["method"]["adapter"], 1 - 0.5),
    ):
        for leaf in layer.values():
            np.testing.assert_allclose(leaf, np.full(leaf.shape, expected), rtol=1e-6)
    frozen = one_step(params, backbone_scale=0.0)
    jax.tree.map(np.testing.assert_array_equal, frozen["model"]["conv"], params["model"]["conv"])


def test_norms_and_biases_may_be_left_out_of_the_decay():
    params = params_of(fc={"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    after = one_step(params, weight_decay=0.2, decay_vectors=False)
    for layer in (after["model"]["conv"], after["model"]["fc"], after["method"]["adapter"]):
        np.testing.assert_allclose(layer["kernel"], np.full((2, 2), 1 - 0.5 * 1.2), rtol=1e-6)
        np.testing.assert_allclose(layer["bias"], np.full(2, 1 - 0.5), rtol=1e-6)


def test_without_a_part_every_parameter_takes_the_plain_step():
    params = params_of(fc={"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    options = {"weight_decay": 0.2, "name": "adamw"}
    plain = one_step(params, **options)
    # Two parts of the same rate and decay, up to rounding.
    parted = one_step(params, backbone_scale=1.0 + 1e-12, **options)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), plain, parted)


def test_a_limit_of_the_gradient_is_that_of_all_parts_together():
    params = params_of(fc={"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    after = one_step(params, backbone_scale=0.5, max_gradient_norm=1.0)
    length = np.sqrt(sum(leaf.size for leaf in jax.tree.leaves(params)))
    bias = after["model"]["fc"]["bias"]
    np.testing.assert_allclose(bias, np.full(2, 1 - 0.5 / length), rtol=1e-6)


def test_parts_need_a_classifier_of_a_known_name():
    with pytest.raises(
        ConfigError, match="classifier is named classifier or fc; this one has conv"
    ):
        one_step(params_of(), backbone_scale=0.1)
    with pytest.raises(
        ValueError, match=r"and backbone_scale must not be negative, got 0\.0, 0\.0 and -1"
    ):
        one_step(params_of(), backbone_scale=-1.0)
