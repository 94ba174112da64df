import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import NUM_CLASSES, toy_net

from fdcmkd_jax import losses, methods, optim, state, tasks
from fdcmkd_jax.step import AXIS, Devices, make_eval_step, make_train_step, to_host
from fdcmkd_jax.tables import ConfigError

TASK = tasks.make("classification", num_classes=NUM_CLASSES)
WEIGHTS = {"task": 1.0, "align": 1.0, "auxiliary": 1.0, "low": 10.0, "high": 10.0}


def batches(count, *, size=16, real=None, labelled=True, seed=0):
    """Batches of which the last holds only `real` examples, the rest padding."""
    random = np.random.default_rng(seed)
    for index in range(count):
        mask = np.ones(size, bool)
        if real is not None and index == count - 1:
            mask[real:] = False
        yield {
            "audio": random.normal(size=(size, 6, 4, 1)).astype(np.float32),
            "image": random.normal(size=(size, 8, 8, 2)).astype(np.float32),
            "label": random.integers(0, NUM_CLASSES, size).astype(np.int32),
            "labelled": np.full(size, labelled),
            "mask": mask,
            "id": np.arange(size, dtype=np.int32),
        }


class Setting:
    """A student of images under a teacher of audio, on some devices."""

    def __init__(self, devices, method="fd_cmkd", weights=WEIGHTS, teacher=True, max_traces=None):
        self.devices = devices
        self.method = method if isinstance(method, methods.Method) else methods.make(method)
        self.model = toy_net(NUM_CLASSES, axis_name=AXIS)
        first = next(batches(1))
        variables = self.model.init(jax.random.key(1), jnp.asarray(first["audio"]), train=False)
        self.teacher_variables = {name: variables[name] for name in ("params", "batch_stats")}
        outputs = state.abstract_outputs(self.model, variables, jnp.asarray(first["audio"]))
        optimizer, _ = optim.make(num_epochs=20, steps_per_epoch=1, learning_rate=0.05)
        self.start = state.create(
            jax.random.key(0),
            self.model,
            jnp.asarray(first["image"]),
            self.method,
            outputs if teacher else None,
            optimizer,
            NUM_CLASSES,
            everyone=TASK.targets(first),
            teacher_variables=self.teacher_variables,
        )
        self.start = to_host(self.start)  # The first step reuses the buffers it is given.
        step = make_train_step(
            self.model,
            "image",
            self.method,
            TASK,
            weights,
            teacher=self.model if teacher else None,
            teacher_input="audio" if teacher else (),
        )
        if max_traces:
            step = chex.assert_max_traces(step, max_traces)
        self.step = devices.map(step, batch_argument=2, split_output=None, donate=True)

    def train(self, stream):
        current = self.devices.replicate(self.start)
        teacher = self.devices.replicate(self.teacher_variables)
        rows = []
        for batch in stream:
            current, sums = self.step(current, teacher, self.devices.split(batch))
            rows.append(to_host(sums))
        self.teacher_after = to_host(teacher)
        return to_host(current), rows


def on(count, parallel="pmap"):
    return Devices(parallel, jax.devices()[:count])


def assert_same_bits(first, second):
    chex.assert_trees_all_equal(arrays(first), arrays(second))


def arrays(current):
    return current.params, current.batch_stats, current.opt_state, current.rng, current.step


@pytest.fixture(scope="module")
def two():
    """A setting on two devices, compiled once for all tests that use it."""
    return Setting(on(2))


@pytest.fixture(scope="module")
def trained():
    """Twenty steps on 1, 2, 4 and 8 devices; every fourth batch is uneven."""
    results = {}
    for count in (1, 2, 4, 8):
        setting = Setting(on(count))
        stream = itertools.chain.from_iterable(batches(4, real=5, seed=epoch) for epoch in range(5))
        results[count] = (setting, *setting.train(stream))
    return results


@pytest.mark.parametrize("count", [2, 4, 8])
def test_device_count_changes_neither_losses_nor_gradient_norms(trained, count):
    one, many = trained[1][2], trained[count][2]
    assert len(one) == 20
    chex.assert_trees_all_close(one, many, rtol=1e-4, atol=1e-6)


def test_device_count_does_not_change_losses_that_relate_the_batchs_examples():
    # Between them they sum over devices, gather rows and find their own among those.
    method = methods.make("join", axis_name=AXIS, methods={"dist": {}, "rkd": {}})
    weights = {"task": 1.0, **dict.fromkeys(method.names, 1.0)}
    stream = list(batches(4, real=5))
    one, many, sharded = (
        Setting(devices, method, weights).train(stream)[1]
        for devices in (on(1), on(4), on(4, "shard_map"))
    )
    chex.assert_trees_all_close(one, many, rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(many, sharded, rtol=1e-5, atol=1e-7)


def test_device_count_does_not_change_what_a_method_remembers():
    method = methods.make("crd", axis_name=AXIS, negatives=4, size=8)
    weights = {"task": 1.0, "contrast": 0.1}
    stream = list(batches(4, real=5))
    one, many, sharded = (
        Setting(devices, method, weights).train(stream)
        for devices in (on(1), on(4), on(4, "shard_map"))
    )
    chex.assert_trees_all_close(one[1], many[1], rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(one[0].memory, many[0].memory, rtol=1e-3, atol=1e-4)
    chex.assert_trees_all_equal(many[0].memory, sharded[0].memory)
    assert one[0].memory["step"] == 4


def test_a_method_with_a_memory_needs_the_whole_split():
    method = methods.make("crd")
    model, image = toy_net(NUM_CLASSES), jnp.zeros((1, 8, 8, 2))
    variables = model.init(jax.random.key(0), image, train=False)
    teacher = state.abstract_outputs(model, variables, image)
    optimizer, _ = optim.make(num_epochs=1, steps_per_epoch=1, learning_rate=0.1)
    with pytest.raises(ValueError, match="needs the targets of the training split"):
        state.create(jax.random.key(0), model, image, method, teacher, optimizer, NUM_CLASSES)


TRAINED = {"task": 1.0, "teacher": 1.0, "teacher_proxy": 1.0, "student_proxy": 1.0}
TRAINED["exchange"] = 1.0


@pytest.fixture(scope="module")
def both_trained():
    """Four steps of a student and its teacher on 1 device and on 4, the last one uneven."""
    method = methods.make("c2kd", axis_name=AXIS, stage="stage2")
    settings = [Setting(devices, method, TRAINED) for devices in (on(1), on(4), on(4, "shard_map"))]
    return [(each, *each.train(batches(4, real=5))) for each in settings]


def test_device_count_does_not_change_a_trained_teacher(both_trained):
    (_, one, rows_1), (_, many, rows_4), (_, sharded, _) = both_trained
    chex.assert_trees_all_close(rows_1, rows_4, rtol=1e-3, atol=1e-5)
    for name in ("params", "teacher_stats"):
        chex.assert_trees_all_close(getattr(one, name), getattr(many, name), rtol=1e-3, atol=1e-4)
        chex.assert_trees_all_equal(getattr(many, name), getattr(sharded, name))


def test_a_trained_teacher_moves_with_its_statistics_and_the_given_one_stays(both_trained):
    setting, after, _ = both_trained[0]
    chex.assert_trees_all_equal(
        setting.start.params["teacher"], setting.teacher_variables["params"]
    )
    chex.assert_trees_all_equal(to_host(setting.teacher_variables), setting.teacher_after)
    for name, before, now in (
        ("params", setting.teacher_variables["params"], after.params["teacher"]),
        ("stats", setting.teacher_variables["batch_stats"], after.teacher_stats),
    ):
        leaves = zip(jax.tree.leaves(before), jax.tree.leaves(now), strict=True)
        assert all(np.any(x != y) for x, y in leaves), name


def test_a_frozen_teacher_is_no_part_of_the_state(two):
    assert set(two.start.params) == {"model", "method"}
    assert two.start.teacher_stats == {}


def test_a_method_joined_with_one_that_trains_the_teacher_does_not_train_it():
    parts = {"c2kd": {"stage": "stage2"}, "mse": {}}
    method = methods.make("join", axis_name=AXIS, methods=parts)
    weights = {"task": 1.0, **{f"c2kd_{name}": 0.0 for name in TRAINED if name != "task"}}
    setting = Setting(on(2), method, {**weights, "mse_feature": 1.0})
    after, _ = setting.train(batches(2))
    chex.assert_trees_all_equal(after.params["teacher"], setting.start.params["teacher"])


def test_a_method_that_trains_its_teacher_needs_one():
    with pytest.raises(ValueError, match="trains its teacher needs one"):
        make_train_step(toy_net(NUM_CLASSES), "image", methods.make("c2kd"), TASK, TRAINED)


def test_losses_fall(trained):
    losses_ = [float(row["loss"][0]) for row in trained[1][2]]
    assert np.mean(losses_[-4:]) < np.mean(losses_[:4])


def test_teacher_keeps_its_bytes(trained):
    setting = trained[8][0]
    chex.assert_trees_all_equal(to_host(setting.teacher_variables), setting.teacher_after)


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_one_shape_is_compiled_once(parallel):
    chex.clear_trace_counter()
    setting = Setting(on(2, parallel), "none", {"task": 1.0}, teacher=False, max_traces=1)
    setting.train(batches(4, real=3))


def test_pmap_and_shard_map_give_the_same_parameters():
    stream = list(batches(6, real=5))
    by_pmap, _ = Setting(on(4)).train(stream)
    by_shard_map, _ = Setting(on(4, "shard_map")).train(stream)
    assert_same_bits(by_pmap, by_shard_map)


def test_padding_rows_change_nothing():
    setting = Setting(on(1))
    padded = next(batches(1, real=5))
    short = jax.tree.map(lambda x: x[:5], padded)
    for key in ("audio", "image"):
        padded[key][5:] = 1e3
    after_padded, rows_padded = setting.train([padded])
    after_short, rows_short = setting.train([short])
    chex.assert_trees_all_close(
        (after_padded.params, after_padded.batch_stats, rows_padded),
        (after_short.params, after_short.batch_stats, rows_short),
        rtol=2e-5,
        atol=1e-6,
    )


def test_hidden_labels_leave_task_and_auxiliary_to_the_labelled_alone(two):
    batch = next(batches(1))
    batch["labelled"][4:] = False
    _, (first,) = two.train([batch])
    batch["label"][4:] = (batch["label"][4:] + 1) % NUM_CLASSES
    _, (changed,) = two.train([batch])
    chex.assert_trees_all_equal(first, changed)


def test_without_any_label_the_task_counts_nothing_and_distillation_goes_on(two):
    _, (row,) = two.train(batches(1, labelled=False))
    assert row["terms"]["task"][1] == 0
    assert row["terms"]["low"][1] == 1
    assert row["gradient_norms"]["task"][0] == 0
    assert row["gradient_norms"]["low"][0] > 0


def test_gradient_norms_are_those_of_each_weighted_term_on_the_features(two):
    batch = next(batches(1))
    _, (row,) = two.train([batch])
    model = toy_net(NUM_CLASSES)
    variables = {"params": two.start.params["model"], "batch_stats": two.start.batch_stats}
    student, _ = model.apply(
        variables, jnp.asarray(batch["image"]), train=True, mutable=["batch_stats"]
    )
    teacher = model.apply(two.teacher_variables, jnp.asarray(batch["audio"]), train=False)

    def low(features):
        return 10.0 * jnp.mean(losses.frequency_distances(features, teacher.features)["low"])

    expected = np.linalg.norm(jax.grad(low)(student.features))
    np.testing.assert_allclose(row["gradient_norms"]["low"][0], expected, rtol=1e-4)

    def task(logits_input):
        kernel, bias = (two.start.params["model"]["fc"][k] for k in ("kernel", "bias"))
        logits = logits_input @ kernel + bias[None]
        return jnp.mean(losses.cross_entropy(logits, jnp.asarray(batch["label"])))

    # The classifier reads the map after its ReLU; a shift of a channel reaches it through the share
    # of positions that are active.
    last = student.maps["stage2"]
    active = jnp.mean(last > 0, axis=(1, 2))
    on_pooled = jax.grad(task)(jnp.mean(last, axis=(1, 2)))
    np.testing.assert_allclose(
        row["gradient_norms"]["task"][0], np.linalg.norm(on_pooled * active), rtol=1e-4
    )


def test_teacher_of_broken_pairs_sees_the_partner(two):
    batch = next(batches(1))
    other = next(batches(1, seed=5))
    _, (paired,) = two.train([{**batch, "audio": other["audio"]}])
    _, (broken,) = two.train([{**batch, "partner": {"audio": other["audio"]}}])
    chex.assert_trees_all_equal(paired, broken)


def test_outputs_in_the_batch_stand_for_the_teacher(two):
    batch = next(batches(1, real=11))
    says = toy_net(NUM_CLASSES).apply(
        two.teacher_variables, jnp.asarray(batch["audio"]), train=False
    )
    known = {"logits": np.array(says.logits), "features": np.array(says.features)}
    _, (expected,) = two.train([batch])
    batch.pop("audio")
    _, (actual,) = two.train([{**batch, "teacher": known}])
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-7)
    known["features"][:11] *= -1  # What is in the batch is what counts.
    _, (other,) = two.train([{**batch, "teacher": known}])
    assert float(other["terms"]["low"][0]) != float(expected["terms"]["low"][0])


def test_loss_is_the_weighted_sum_of_terms(two):
    _, (row,) = two.train(batches(1))
    expected = sum(WEIGHTS[name] * float(mean) for name, (mean, _) in row["terms"].items())
    np.testing.assert_allclose(row["loss"][0], expected, rtol=1e-5)


def test_same_seed_gives_the_same_bits(two):
    stream = list(batches(3))
    assert_same_bits(two.start, Setting(on(2)).start)
    assert_same_bits(two.train(stream)[0], two.train(stream)[0])


def test_student_starts_alike_under_every_method(two):
    with_teacher = two.start.params["model"]
    alone = Setting(on(1), "none", {"task": 1.0}, teacher=False).start.params["model"]
    chex.assert_trees_all_equal(with_teacher, alone)


def test_weights_must_name_the_terms():
    with pytest.raises(ValueError, match=r"missing \['task'\], not a term \['tusk'\]"):
        Setting(on(1), "none", {"tusk": 1.0}, teacher=False)


def test_unknown_map_is_refused():
    with pytest.raises(ValueError, match="'pmap' or 'shard_map', got 'vmap'"):
        Devices("vmap")


def test_indivisible_batch_is_refused():
    on(4).check(16)
    with pytest.raises(ConfigError, match=r"a batch of 18 does not divide over 4 devices"):
        on(4).check(18)


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
@pytest.mark.parametrize("count", [1, 4])
def test_evaluation_counts_real_rows_and_returns_them_in_order(parallel, count):
    devices = on(count, parallel)
    model, method = toy_net(NUM_CLASSES), methods.make("none")
    batch = next(batches(1, real=11))
    variables = model.init(jax.random.key(0), jnp.asarray(batch["image"]), train=False)
    variables = {name: variables[name] for name in ("params", "batch_stats")}
    step = devices.map(
        make_eval_step(model, "image", method, TASK),
        batch_argument=2,
        split_output=1,
        donate=False,
    )
    sums, examples = step(devices.replicate(variables), {}, devices.split(batch))
    examples, sums = devices.gather(examples), to_host(sums)
    logits = np.asarray(model.apply(variables, jnp.asarray(batch["image"]), train=False).logits)
    hits = logits.argmax(-1) == batch["label"]
    total, counted = sums["heads"]["main"]["accuracy"]
    assert (total, counted) == (hits[:11].sum(), 11)
    assert sums["confusion"].sum() == 11
    assert np.trace(sums["confusion"]) == hits[:11].sum()
    np.testing.assert_array_equal(examples["id"], batch["id"])
    np.testing.assert_array_equal(examples["predictions"], logits.argmax(-1))
