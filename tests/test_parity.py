"""The same numbers as PyTorch, from the same weights and batches, through the real train step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from toy import digits_config

from benchmarks.pytorch_baseline import losses as torch_losses
from benchmarks.pytorch_baseline import models as torch_models
from benchmarks.pytorch_baseline import train as baseline
from fdcmkd_jax import interop, losses, methods, models, optim, state, tasks
from fdcmkd_jax.interop import catalog
from fdcmkd_jax.step import AXIS, Devices, make_train_step
from fdcmkd_jax.types import Outputs

K, N = 5, 4
CHANNELS = {"audio": 1, "image": 3}

# Odd sizes, so that a difference in padding or pooling would show.
SHAPES = {"resnet_tiny": {"audio": (33, 13), "image": (27, 29)}}
LARGE_SHAPES = {"audio": (35, 45), "image": (45, 35)}

BACKBONES = {
    "resnet_tiny": {"name": "resnet_tiny"},
    **{f"resnet{depth}": {"name": "resnet", "depth": depth} for depth in (18, 34, 50)},
}

# Relative to the largest element of each tensor. What differs is the order of summation, so errors
# start at the rounding unit (1e-16, 6e-8) and grow through up to 53 layers and back.
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
# A ReLU whose input is within rounding of zero falls on different sides, and its share of a
# gradient comes or goes: in float32 that happens in any deep network, in float64 hardly ever. So
# single elements say little, and gradients are compared by each tensor's norm.
GRADIENT_TOLERANCE = {"float64": 1e-9, "float32": 5e-2}


@pytest.fixture(autouse=True, scope="module")
def as_in_use():
    """One thread of PyTorch; XLA's optimisations, without which deep networks run for minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    torch.set_num_threads(threads)


@pytest.fixture
def precision(request):
    """float32 or float64, in both libraries."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def both_precisions(function):
    return pytest.mark.parametrize("precision", ["float32", "float64"], indirect=True)(function)


def torch_model(backbone, modality, seed, precision):
    torch.manual_seed(seed)
    if backbone == "resnet_tiny":
        model = torch_models.resnet_tiny(channels_in=CHANNELS[modality], num_classes=K)
    else:
        depth = int(backbone.removeprefix("resnet"))
        model = torch_models.resnet(depth, channels_in=CHANNELS[modality], num_classes=K)
    for module in model.modules():  # Otherwise statistics and biases are all zeros and ones.
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.to(getattr(torch, precision))


def our_model(backbone, precision, axis_name=None):
    options = {**BACKBONES[backbone], "dtype": precision}
    model = models.make(**options, num_classes=K, axis_name=axis_name)
    # XLA's float64 convolutions on a CPU are plain loops; as matrix products they are quick.
    return model.clone(patches=True) if precision == "float64" else model


def as_numpy(module):
    return {key: value.detach().numpy().copy() for key, value in module.state_dict().items()}


def our_variables(model, source, modality):
    like = catalog.abstract_variables(model, CHANNELS[modality])
    variables = interop.from_state_dict(as_numpy(source), like, naming="reproduction")
    return jax.tree.map(jnp.asarray, variables)


def inputs(backbone, modality, precision, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    shape = SHAPES.get(backbone, LARGE_SHAPES)[modality]
    x = rng.normal(size=(N, *shape, CHANNELS[modality]))
    if labels is not None:  # Something to learn.
        x += np.random.default_rng(99).normal(size=(K, *x.shape[1:]))[labels]
    return x.astype(precision)


def assert_close(ours, theirs, tolerance, what=""):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype, what
    np.testing.assert_allclose(
        ours, theirs, rtol=0, atol=tolerance * max(np.abs(theirs).max(), 1e-12), err_msg=what
    )


# One model


@both_precisions
@pytest.mark.parametrize(
    ("backbone", "modality"),
    [
        ("resnet_tiny", "audio"),
        ("resnet_tiny", "image"),
        ("resnet18", "audio"),
        ("resnet34", "image"),
        ("resnet50", "image"),
    ],
)
def test_one_pass_in_eval_and_one_in_train_mode_with_statistics_and_every_gradient(
    backbone, modality, precision
):
    tolerance = TOLERANCE[precision]
    theirs = torch_model(backbone, modality, 0, precision)
    ours = our_model(backbone, precision)
    variables = our_variables(ours, theirs, modality)
    labels = np.random.default_rng(1).integers(0, K, N)
    x = inputs(backbone, modality, precision)

    # Compiled as one program: for the deep networks compiling is most of the time.
    @jax.jit
    def run(variables, x):
        def loss(params):
            outputs, updates = ours.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            loss = losses.cross_entropy(outputs.logits, jnp.asarray(labels))
            return loss.mean(), (outputs, updates)

        evaluated = ours.apply(variables, x, train=False)
        return evaluated, jax.value_and_grad(loss, has_aux=True)(variables["params"])

    evaluated, ((value, (trained, updates)), gradients) = run(variables, x)

    def forward(train):
        logits, features = theirs.train(train)(torch_models.images_first(torch.from_numpy(x)))
        return logits, features.detach().numpy()

    logits, features = forward(train=False)
    assert features.min() < 0  # before the ReLU
    assert_close(evaluated.logits, logits.detach().numpy(), tolerance, "eval logits")
    assert_close(evaluated.features, features, tolerance, "eval features")

    logits, features = forward(train=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()
    assert_close(trained.logits, logits.detach().numpy(), tolerance, "train logits")
    assert_close(trained.features, features, tolerance, "train features")
    assert_close(value, loss.detach().numpy(), tolerance, "loss")
    statistics = {"params": variables["params"], "batch_stats": updates["batch_stats"]}
    found = interop.to_state_dict(statistics, naming="reproduction", step=1)
    for key, value in as_numpy(theirs).items():
        assert_close(found[key], value, tolerance, key)
    found = interop.to_state_dict({"params": gradients}, naming="reproduction")
    for key, parameter in theirs.named_parameters():
        expected = parameter.grad.numpy()
        error = np.linalg.norm(found[key] - expected) / np.linalg.norm(expected)
        assert error < GRADIENT_TOLERANCE[precision], f"gradient of {key}"


def test_eval_logits_of_a_resnet18_are_pytorchs_to_1e_5():
    """In float32, absolutely, at the input size that it is used at."""
    theirs = torch_models.resnet(18, channels_in=3, num_classes=6).eval()
    model = models.make("resnet", depth=18, num_classes=6)
    like = catalog.abstract_variables(model, 3)
    variables = interop.from_state_dict(as_numpy(theirs), like, naming="reproduction")
    x = np.random.default_rng(0).normal(size=(2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        logits, _ = theirs(torch_models.images_first(torch.from_numpy(x)))
    ours = jax.jit(functools.partial(model.apply, train=False))(variables, x)
    np.testing.assert_allclose(ours.logits, logits.numpy(), rtol=0, atol=1e-5)


# Terms


@both_precisions
@pytest.mark.parametrize("size", [128, 512, 2048])
def test_every_term_of_the_method_and_its_gradients(size, precision):
    rng = np.random.default_rng(size)
    student, teacher = rng.normal(size=(2, N, size)).astype(precision)
    logits, teacher_logits = rng.normal(size=(2, N, K)).astype(precision)
    labels = rng.integers(0, K, N)
    torch.manual_seed(0)
    heads = torch_losses.Heads(size, K, auxiliary=True).to(getattr(torch, precision))
    inputs_ = [torch.from_numpy(x).requires_grad_() for x in (logits, student)]
    theirs = torch_losses.terms(
        heads, *inputs_, torch.from_numpy(teacher), torch.from_numpy(labels)
    )

    method = methods.make("fd_cmkd")
    task = tasks.make("classification", num_classes=K)
    batch = jax.tree.map(jnp.asarray, batch_of({}, labels))
    params = our_heads(heads)

    def ours(params, logits, features):
        outputs = student_outputs(logits, features)
        targets = task.targets(batch)
        terms = method.terms(params, outputs, student_outputs(teacher_logits, teacher), targets)
        terms = {"task": targets.loss(logits), **terms}
        return {name: jnp.mean(term) for name, term in terms.items()}

    values = jax.jit(ours)(params, logits, student)
    assert sorted(values) == sorted(theirs)
    gradients = jax.jit(jax.jacrev(ours, argnums=(0, 1, 2)))(params, logits, student)
    for name, term in theirs.items():
        assert_close(values[name], term.detach().numpy(), TOLERANCE[precision], name)
        of_heads, of_logits, of_features = gradients[name]
        expected = torch.autograd.grad(
            term, [*inputs_, *heads.parameters()], retain_graph=True, materialize_grads=True
        )
        assert_close(of_logits, expected[0].numpy(), TOLERANCE[precision], name)
        assert_close(of_features, expected[1].numpy(), TOLERANCE[precision], name)
        for (key, _), gradient in zip(heads.named_parameters(), expected[2:], strict=True):
            found = at_torch_name(of_heads, key)
            assert_close(found, gradient.numpy(), TOLERANCE[precision], f"{name} on {key}")


def student_outputs(logits, features):
    return Outputs(logits=jnp.asarray(logits), features=jnp.asarray(features))


def our_heads(heads):
    return {
        "adapter": {},
        **{
            group: {
                band: {
                    "kernel": jnp.asarray(dense.weight.detach().numpy().T),
                    "bias": jnp.asarray(dense.bias.detach().numpy()),
                }
                for band, dense in bands.items()
            }
            for group, bands in heads.groups.items()
        },
    }


def at_torch_name(params, key):
    """The leaf of our heads that PyTorch calls ``groups.align.low.weight``, in its layout."""
    _, group, band, kind = key.split(".")
    leaf = params[group][band]["kernel" if kind == "weight" else "bias"]
    return leaf.T if kind == "weight" else leaf


def batch_of(arrays, labels):
    everyone = np.ones(N, bool)
    return {**arrays, "label": labels.astype(np.int32), "labelled": everyone, "mask": everyone}


# Training: both directions in one loop there, one after the other here


@dataclasses.dataclass
class Race:
    """Both implementations at the same start."""

    theirs: baseline.Distillation
    their_step: object
    recipe: baseline.Recipe
    ours: dict
    our_steps: dict
    batches: list


STEPS_PER_EPOCH = 3


def race(backbone, preset, precision):
    config = digits_config(preset)
    recipe = baseline.Recipe(
        num_epochs=config.train.num_epochs,
        learning_rate=config.optim.learning_rate,
        weights=config.weights.to_dict(),
    )
    teachers = {m: torch_model(backbone, m, n, precision) for n, m in enumerate(CHANNELS)}
    students = {
        name: torch_model(backbone, student, 2 + n, precision)
        for n, (name, (_, student)) in enumerate(baseline.DIRECTIONS.items())
    }
    theirs = baseline.Distillation(teachers, students, recipe.weights, num_classes=K)
    theirs.to(getattr(torch, precision)).train()
    parameters = [p for p in theirs.parameters() if p.requires_grad]
    optimizer = recipe.optimizer(parameters)

    def their_step(batch, step):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step // STEPS_PER_EPOCH)
        moved = {
            name: torch_models.images_first(torch.from_numpy(batch[name])) for name in CHANNELS
        }
        moved["label"] = torch.from_numpy(batch["label"]).long()
        optimizer.zero_grad()
        losses = theirs(moved)
        losses.sum().backward()
        optimizer.step()
        return losses.detach().numpy()

    transformation, _ = optim.make(
        **config.optim, num_epochs=recipe.num_epochs, steps_per_epoch=STEPS_PER_EPOCH
    )
    method = methods.make(**config.method)
    task = tasks.make("classification", num_classes=K)
    devices = Devices("pmap", devices=jax.devices()[:1])
    model = our_model(backbone, precision, AXIS)
    ours, our_steps = {}, {}
    for name, (source, target) in baseline.DIRECTIONS.items():
        variables = our_variables(model, students[name], target)
        params = {"model": variables["params"], "method": our_heads(theirs.heads[name])}
        ours[name] = devices.replicate(
            state.TrainState.create(
                apply_fn=model.apply,
                params=params,
                tx=transformation,
                batch_stats=variables["batch_stats"],
                rng=jax.random.key_data(jax.random.key(0)),
            ).replace(step=jnp.zeros((), jnp.int32))
        )
        step = make_train_step(model, target, method, task, recipe.weights, model, source)
        compiled = devices.map(step, batch_argument=2, split_output=None, donate=False)
        teacher = devices.replicate(our_variables(model, teachers[source], source))
        our_steps[name] = functools.partial(run_step, compiled, teacher, devices)
    batches = []
    for seed in range(STEPS_PER_EPOCH):
        labels = np.random.default_rng(seed).integers(0, K, N)
        arrays = {m: inputs(backbone, m, precision, seed, labels) for m in CHANNELS}
        batches.append(batch_of(arrays, labels))
    return Race(theirs, their_step, recipe, ours, our_steps, batches)


def run_step(compiled, teacher, devices, current, batch):
    return compiled(current, teacher, devices.split(batch))


def advance(each, start, stop):
    """Both take the steps from ``start`` to ``stop``; the losses before each are compared."""
    for step in range(start, stop):
        batch = each.batches[step % STEPS_PER_EPOCH]
        theirs = each.their_step(batch, step)
        for column, name in enumerate(baseline.DIRECTIONS):
            each.ours[name], sums = each.our_steps[name](each.ours[name], batch)
            yield name, float(sums["loss"][0]), float(theirs[column])


def differences(each):
    """Per tensor of both students and their heads, the largest relative difference."""
    found = {}
    for name, ours, theirs in tensors(each):
        found[name] = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)
    return found


def tensors(each):
    """(name, ours, theirs) for every tensor of both students and their heads."""
    for name, current in each.ours.items():
        ours = interop.to_state_dict(jax.device_get(current.variables), naming="reproduction")
        for key, theirs in as_numpy(each.theirs.students[name]).items():
            if not key.endswith("num_batches_tracked"):
                yield f"{name} {key}", ours[key], theirs
        for key, theirs in as_numpy(each.theirs.heads[name]).items():
            yield f"{name} {key}", np.asarray(at_torch_name(current.params["method"], key)), theirs


CASES = [("resnet_tiny", "paper"), ("resnet_tiny", "authors_code"), ("resnet18", "authors_code")]
each_case = pytest.mark.parametrize(
    ("backbone", "preset"), CASES, ids=["-".join(filter(None, case)) for case in CASES]
)


@each_case
def test_parameters_after_1_10_and_50_joint_steps_in_float64(backbone, preset):
    with jax.enable_x64(True):
        each = race(backbone, preset, "float64")
        taken = 0
        for steps, tolerance in ((1, 1e-9), (10, 1e-9), (50, 1e-6)):
            for name, ours, theirs in advance(each, taken, steps):
                assert ours == pytest.approx(theirs, rel=tolerance), name
            taken = steps
            found = differences(each)
            worst = max(found, key=found.__getitem__)
            assert found[worst] < tolerance, f"{worst} after {steps} steps"


def test_parameters_after_1_10_and_50_joint_steps_in_float32():
    """As close to PyTorch's float64 as PyTorch's own float32 is.

    One step agrees to rounding. Later a ReLU whose input is within rounding of zero falls on
    different sides, and from there two float32 runs differ by percents in single elements: so does
    PyTorch from itself in float64. That distance, ten times, is the tolerance.
    """
    each = race("resnet_tiny", "authors_code", "float32")
    with jax.enable_x64(True):
        exact = race("resnet_tiny", "authors_code", "float64")
    taken = 0
    for steps in (1, 10, 50):
        assert len(list(advance(each, taken, steps))) == 2 * (steps - taken)
        for step in range(taken, steps):
            exact.their_step(exact.batches[step % STEPS_PER_EPOCH], step)
        taken = steps
        if steps == 1:
            assert max(differences(each).values()) < 1e-5
        reference = {name: theirs for name, _, theirs in tensors(exact)}
        ours = distance({name: ours for name, ours, _ in tensors(each)}, reference)
        theirs = distance({name: theirs for name, _, theirs in tensors(each)}, reference)
        assert ours < 10 * theirs + 1e-6, f"after {steps} steps"


def distance(found, reference):
    """The norm of the difference of all tensors, relative to that of the reference."""
    squares = [np.sum(np.square(found[name] - reference[name])) for name in reference]
    return np.sqrt(sum(squares) / sum(np.sum(np.square(x)) for x in reference.values()))


# The recipe around the step


@pytest.mark.parametrize(("preset", "peak"), [("", 0.1), ("paper", 0.1), ("authors_code", 0.01)])
def test_learning_rate_of_every_epoch(preset, peak):
    config = digits_config(preset)
    recipe = baseline.Recipe(learning_rate=config.optim.learning_rate)
    assert recipe.learning_rate == peak
    _, rate = optim.make(**config.optim, num_epochs=100, steps_per_epoch=STEPS_PER_EPOCH)
    for epoch in range(100):
        for step in range(STEPS_PER_EPOCH):
            found = float(rate(epoch * STEPS_PER_EPOCH + step))
            assert found == pytest.approx(recipe.rate(epoch), rel=1e-5)


def test_initial_weights_are_drawn_from_the_same_distributions():
    """Kaiming-normal over the fan-out, Xavier-normal: by a two-sample test on every layer."""
    theirs = torch_models.resnet(18, channels_in=3, num_classes=K)
    torch.manual_seed(0)
    torch_models.initialize(theirs)
    model = models.make(**BACKBONES["resnet18"], num_classes=K)
    ours = interop.to_state_dict(catalog.initial_variables(model, 3, seed=0), naming="reproduction")
    compared = 0
    for key, value in as_numpy(theirs).items():
        if value.ndim > 1:
            drawn, given = (x.ravel()[:20000] for x in (ours[key], value))
            assert scipy.stats.ks_2samp(drawn, given).pvalue > 1e-4, key
            compared += 1
        else:
            np.testing.assert_array_equal(ours[key], value, err_msg=key)
    assert compared == 21


def test_initial_heads_are_drawn_from_the_same_distribution():
    torch.manual_seed(0)
    heads = torch_losses.Heads(512, 64, auxiliary=True)
    torch_models.initialize(heads)
    outputs = Outputs(logits=jnp.zeros((1, 64)), features=jnp.zeros((1, 512)))
    params = methods.make("fd_cmkd").init(jax.random.key(0), outputs, outputs, 64)
    for key, value in as_numpy(heads).items():
        ours = np.asarray(at_torch_name(params, key))
        assert ours.shape == value.shape
        if value.ndim > 1:
            assert scipy.stats.ks_2samp(ours.ravel(), value.ravel()).pvalue > 1e-4, key
        else:
            np.testing.assert_array_equal(ours, value)
