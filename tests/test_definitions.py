"""Methods against their definitions in NumPy, and laws they obey."""

import functools
import importlib
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats

from fdcmkd_jax import losses, methods
from fdcmkd_jax.tables import ConfigError
from fdcmkd_jax.types import Outputs, Targets

c2kd_module = importlib.import_module("fdcmkd_jax.methods.c2kd")
mgdfr_module = importlib.import_module("fdcmkd_jax.methods.mgdfr")
mst_module = importlib.import_module("fdcmkd_jax.methods.mst")
crd_module = importlib.import_module("fdcmkd_jax.methods.crd")

N, K, D = 4, 5, 8
MASK = np.array([True, True, False, True])  # Row 2 is padding.
KEPT = np.flatnonzero(MASK)
EYE = np.eye(N, dtype=bool)


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def model(seed, *, width=D, classes=K, rest=(), maps=()):
    shapes = dict(maps)
    return Outputs(
        logits=jnp.asarray(random(seed, N, classes), jnp.float32),
        features=jnp.asarray(random(seed + 10, N, *rest, width), jnp.float32),
        maps={
            name: jnp.asarray(random(seed + 20, N, *s), jnp.float32) for name, s in shapes.items()
        },
    )


def targets(classes=K, mask=MASK):
    return Targets(
        labels=jnp.asarray([0, 2, 1, 2], jnp.int32),
        labelled=jnp.ones(N, bool),
        mask=jnp.asarray(mask),
        num_classes=classes,
        label_loss=losses.cross_entropy,
    )


def terms_of(name, student, teacher, known=None, params=None, **options):
    method = methods.make(name, **options)
    if params is None:
        params = method.init(jax.random.key(0), student, teacher, student.logits.shape[-1])
    known = targets(student.logits.shape[-1]) if known is None else known
    return jax.jit(method.terms)(params, student, teacher, known)


def close(actual, expected, rtol=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-6)


def wide(x):
    return np.asarray(x, np.float64)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# contrastive


def matches(rows, columns, temperature):
    """Log-probabilities over the rows that are no padding."""
    logits = unit(rows) @ unit(columns).T / temperature
    return oracles.log_softmax(logits[:, KEPT])


@pytest.mark.parametrize("kind", ["hard", "smoothed", "low_band"])
def test_contrastive_is_cross_entropy_with_the_partner_in_both_directions(kind):
    student, teacher = model(0), model(1)
    s, t = wide(student.features), wide(teacher.features)
    low = oracles.bands(t, oracles.HALF)[0]
    spread = {
        "hard": EYE[:, KEPT],
        "smoothed": np.full((N, 3), 1 / 3),
        "low_band": np.exp(matches(low, low, 0.5)),
    }[kind]
    wanted = 0.8 * EYE[:, KEPT] + 0.2 * spread
    expected = -np.sum(wanted * (matches(s, t, 0.5) + matches(t, s, 0.5)), axis=1) / 2
    terms = terms_of("contrastive", student, teacher, targets=kind, temperature=0.5, smoothing=0.2)
    close(terms["contrast"][KEPT], expected[KEPT])


# c2kd


def test_rank_correlation_is_kendalls_tau_b_with_ties():
    x, y = np.random.default_rng(0).integers(0, 4, (2, 30, 6)).astype(np.float32)
    x[0] = 1.0  # Without any order.
    expected = [stats.kendalltau(*rows, variant="b").statistic for rows in zip(x, y, strict=True)]
    actual = c2kd_module.rank_correlation(jnp.asarray(x), jnp.asarray(y))
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
        others = (model(0).logits, model(1).logits)
        terms = c2kd_module.distances(*others, proxy, model(2).logits, targets(), 0.0)
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


# crd


def split_of(labels, ids, labelled=None):
    """The targets of a whole training split."""
    size = len(labels)
    return Targets(
        labels=jnp.asarray(labels, jnp.int32),
        labelled=jnp.ones(size, bool) if labelled is None else jnp.asarray(labelled),
        mask=jnp.ones(size, bool),
        num_classes=K,
        label_loss=losses.cross_entropy,
        id=jnp.asarray(ids, jnp.int32),
    )


def start_crd(everyone, **options):
    method = methods.make("crd", **options)
    params = method.init(jax.random.key(0), model(0), model(1), K)
    return method, params, method.init_memory(jax.random.key(1), params, everyone)


def test_crd_draws_negatives_evenly_from_the_other_classes():
    labels = np.array([2, 0, 1, 0, 2, 2, 1, 0])
    ids = np.array([70, 10, 30, 20, 60, 90, 80, 40])
    labelled = ids != 80  # It is every other's negative, and every other its.
    everyone = split_of(labels, ids, labelled)
    _, _, memory = start_crd(everyone)
    rows = crd_module._rows(memory["places"], everyone)
    assert sorted(np.asarray(rows)) == list(range(8))
    drawn = crd_module._negatives(jax.random.key(5), memory["places"], rows, 7000)
    by_row = np.argsort(rows)
    for example, found in enumerate(by_row[np.asarray(drawn)]):
        same = (labels == labels[example]) & labelled & labelled[example]
        allowed = np.flatnonzero(~same & (ids != ids[example]))
        counts = np.bincount(found, minlength=8)
        assert set(np.flatnonzero(counts)) == set(allowed)
        # 7000 draws of at most 7 rows: a fifth is more than five deviations.
        np.testing.assert_allclose(counts[allowed], 7000 / len(allowed), rtol=0.2)


def test_crd_draws_for_an_example_what_it_would_draw_elsewhere_in_the_batch():
    everyone = split_of([0, 1, 2, 0, 1, 2], np.arange(6))
    _, _, memory = start_crd(everyone)
    draw = functools.partial(crd_module._negatives, jax.random.key(5), memory["places"])
    both, one = draw(jnp.array([4, 2]), 5), draw(jnp.array([2]), 5)
    np.testing.assert_array_equal(both[1], one[0])


def test_crd_moves_only_the_batchs_rows_and_keeps_the_first_normalizer():
    everyone = split_of([0, 2, 1, 2, 0, 1], np.arange(6))
    method, params, memory = start_crd(everyone, negatives=3, size=4, momentum=0.25)
    known = targets().replace(id=jnp.arange(4, dtype=jnp.int32))
    run = jax.jit(method.run)
    _, first = run(params, model(0), model(1), known, memory)
    _, second = run(params, model(2), model(3), known, first)
    rows = np.asarray(crd_module._rows(memory["places"], everyone))
    for side, outputs in (("student", model(0)), ("teacher", model(1))):
        assert second[side]["normalizer"] == first[side]["normalizer"] > 0
        old, new = wide(memory[side]["bank"]), first[side]["bank"]
        moved = 0.25 * old[rows[:4]] + 0.75 * unit(wide(outputs.features) @ params[side]["kernel"])
        close(new[rows[KEPT]], unit(moved)[KEPT])
        others = np.setdiff1d(np.arange(6), rows[KEPT])
        np.testing.assert_array_equal(new[others], memory[side]["bank"][others])


@pytest.mark.parametrize(
    ("labels", "ids", "message"),
    [
        ([0, 1, 2], [4, 5, 4], "ids that differ"),
        ([1, 1, 1], [4, 5, 6], "at least two classes"),
    ],
)
def test_crd_refuses_a_split_it_cannot_remember(labels, ids, message):
    with pytest.raises(ValueError, match=message):
        start_crd(split_of(labels, ids))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": 0}, "negatives and size must be positive, got 0 and 128"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_crd_refuses_a_value_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("crd", **options)


# decouple


def test_decouple_takes_the_cosine_and_the_lengths_apart():
    student, teacher = model(0), model(1)
    s, t = wide(student.features), wide(teacher.features)
    terms = terms_of("decouple", student, teacher)
    close(terms["angle"], 1 - np.sum(unit(s) * unit(t), axis=1))
    error = np.abs(np.linalg.norm(s, axis=1) - np.linalg.norm(t, axis=1))
    close(terms["length"], np.where(error < 1, error**2 / 2, error - 0.5))


def test_scaling_a_feature_changes_its_length_and_not_its_angle():
    student, teacher = model(0), model(1)
    longer = student.replace(features=3 * student.features)
    before, after = (terms_of("decouple", each, teacher) for each in (student, longer))
    close(after["angle"], before["angle"])
    assert np.all(after["length"] != before["length"])


# displacement


def test_displacement_compares_the_differences_of_all_pairs():
    student, teacher = model(0), model(1)
    s, t = wide(student.features), wide(teacher.features)
    expected = [
        np.mean(
            [
                oracles.soft_divergence((s[j] - s[i])[None], (t[j] - t[i])[None], 2.0)[0]
                for j in KEPT
                if j != i
            ]
        )
        for i in KEPT
    ]
    terms = terms_of("displacement", student, teacher, temperature=2.0)
    close(terms["displacement"][KEPT], expected)


def test_displacement_does_not_see_a_common_shift_of_the_student():
    student, teacher = model(0), model(1)
    moved = student.replace(features=student.features + jnp.asarray(random(9, 1, D), jnp.float32))
    before, after = (terms_of("displacement", each, teacher) for each in (student, moved))
    close(after["displacement"], before["displacement"], rtol=1e-4)


# dist


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
        known = targets().replace(mask=jnp.asarray(mask))
        terms = methods.make("dist").terms({}, student, teacher, known)
        return {name: np.mean(np.asarray(term)[mask]) for name, term in terms.items()}

    by_map, by_row = means(dense, MASK), means(flat, mask)
    for term in ("inter", "intra"):
        close(by_map[term], by_row[term])


# dkd


def test_dkd_of_two_classes_has_nothing_to_say_of_the_others():
    terms = terms_of("dkd", model(0, classes=2), model(1, classes=2), _two_classes())
    close(terms["other"], np.zeros(N))
    expected = oracles.soft_divergence(model(0, classes=2).logits, model(1, classes=2).logits, 4.0)
    close(terms["target"], expected)  # with two classes the target's term is all there is


def _two_classes():
    return targets(2).replace(labels=jnp.asarray([0, 1, 1, 0], jnp.int32))


@pytest.mark.parametrize("name", ["dkd", "mlld", "ofa"])
def test_dense_logits_are_refused_where_one_prediction_is_needed(name):
    student = model(0).replace(logits=jnp.zeros((N, 2, 2, K)))
    with pytest.raises(ValueError, match=rf"{name} needs one prediction an example, .* \(4, 2, 2"):
        methods.make(name).init(jax.random.key(0), student, student, K)


# feat and pkd on maps


@pytest.mark.parametrize("name", ["feat", "pkd"])
def test_the_students_map_is_resized_to_the_teachers(name):
    student, teacher = model(0, maps={"a": (4, 2, 3)}), model(1, maps={"a": (2, 2, 3)})
    # Halving, without smoothing, is the mean of the two cells around each new centre.
    halved = student.maps["a"].reshape(N, 2, 2, 2, 3).mean(axis=2)
    options = {"stage": "a", **({"regressor": False} if name == "feat" else {})}
    actual = terms_of(name, student, teacher, **options)
    expected = terms_of(name, student.replace(maps={"a": halved}), teacher, **options)
    close(actual["feature"], expected["feature"])


def test_the_regressor_maps_equal_widths_too():
    student, teacher = model(0), model(1)
    params = methods.feat().init(jax.random.key(0), student, teacher, K)
    assert params["adapter"]["kernel"].shape == (D, D)
    expected = oracles.mean_squared_error(
        wide(student.features) @ wide(params["adapter"]["kernel"]), teacher.features
    )
    close(terms_of("feat", student, teacher, params=params)["feature"], expected)
    plain = methods.feat(regressor=False).init(jax.random.key(0), student, teacher, K)
    assert plain["adapter"] == {}


@pytest.mark.parametrize("name", ["feat", "pkd", "similarity"])
def test_a_stage_that_a_model_lacks_is_named_with_those_it_has(name):
    student, teacher = model(0, maps={"stage1": (2, 2, 3)}), model(1, maps={"stage2": (2, 2, 3)})
    method = methods.make(name, stage="stage1")
    with pytest.raises(ConfigError, match=r"^unknown stage 'stage1'; known: stage2"):
        method.init(jax.random.key(0), student, teacher, K)


def test_pkd_does_not_see_scale_and_mean_of_a_channel():
    student, teacher = model(0), model(1)
    scaled = student.replace(features=7 * student.features + 2)
    before, after = (terms_of("pkd", each, teacher) for each in (student, scaled))
    close(after["feature"][KEPT], before["feature"][KEPT], rtol=1e-4)


# figkd


def test_figkd_leaves_the_last_of_an_odd_number_of_classes_alone():
    student, teacher = model(0), model(1)
    other = student.replace(logits=student.logits.at[:, -1].add(3))
    before, after = (terms_of("figkd", each, teacher)["detail"] for each in (student, other))
    np.testing.assert_array_equal(before, after)


def test_figkd_does_not_see_the_mean_of_a_pair():
    student, teacher = model(0), model(1)
    shift = jnp.asarray([[2.0, 2.0, -1.0, -1.0, 5.0]])
    moved = student.replace(logits=student.logits + shift)
    before, after = (terms_of("figkd", each, teacher)["detail"] for each in (student, moved))
    close(after, before)


# mgdfr


def test_salience_is_the_mean_over_all_permutations_of_a_channel():
    x, kernel, other = random(0, N, D), random(1, D, K), random(2, N, K)
    real = x[KEPT]

    def error(features):
        return np.mean((features @ kernel - other[KEPT]) ** 2)

    expected = []
    for channel in range(D):
        permuted = np.repeat(real[None], 6, axis=0)
        orders = list(itertools.permutations(range(3)))
        permuted[:, :, channel] = [real[list(order), channel] for order in orders]
        expected.append(np.mean([error(each) for each in permuted]) - error(real))
    actual = mgdfr_module.salience(
        *(jnp.asarray(z, jnp.float32) for z in (x, kernel, x @ kernel - other)),
        jnp.asarray(MASK),
        None,
    )
    close(actual, expected, rtol=1e-4)


def test_the_least_salient_channels_are_those_of_the_lowest_share():
    values = jnp.array([3.0, 1.0, 2.0, 0.0, 5.0])
    np.testing.assert_array_equal(
        mgdfr_module.least(values, 0.75), [False, True, True, True, False]
    )


def test_mgdfr_aligns_and_ranks_then_distils_from_the_edited_teacher():
    student, teacher = model(0), model(1)
    method = methods.make("mgdfr", align_steps=2, frozen=0.5, temperature=2.0)
    params = method.init(jax.random.key(0), student, teacher, K)
    memory = method.init_memory(jax.random.key(1), params, targets())
    kernel = wide(params["classifier"]["kernel"])
    for step in range(3):
        terms, after = method.run(params, student, teacher, targets(), memory)
        aligning = step < 2
        for name in ("teacher", "agreement"):
            assert np.all((terms[name] > 0) == aligning)
        assert np.all((terms["divergence"] > 0) != aligning)
        assert np.any(after["salience"] != memory["salience"]) == aligning
        memory = after
    edited = wide(teacher.features)
    lowest = np.argsort(memory["salience"])[:4]
    edited[:, lowest] = np.mean(edited[KEPT][:, lowest], axis=0)
    expected = oracles.soft_divergence(student.logits, edited @ kernel, 2.0)
    close(terms["divergence"][KEPT], expected[KEPT], rtol=1e-4)


def test_mgdfr_trains_the_teacher_only_while_aligning():
    student, teacher = model(0), model(1)
    method = methods.make("mgdfr", align_steps=2)
    params = method.init(jax.random.key(0), student, teacher, K)
    memory = method.init_memory(jax.random.key(1), params, targets())

    def total(teacher, params, step):
        terms, _ = method.run(params, student, teacher, targets(), {**memory, "step": step})
        return sum(jnp.sum(term) for term in terms.values())

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))
    for step, trained in ((1, True), (2, False)):
        by_teacher, by_params = gradients(teacher, params, step)
        for gradient in (by_teacher.features, *jax.tree.leaves(by_params)):
            assert np.any(gradient != 0) == trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"align_steps": 0}, "align_steps must be positive, got 0"),
        ({"frozen": 1.0}, r"frozen must lie in \[0, 1\), got 1.0"),
    ],
)
def test_mgdfr_refuses_a_value_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make("mgdfr", **options)


# mst


def start_mst(**options):
    student = model(0)
    teacher = model(1, maps={"stage1": (2, 2, 6), "stage2": (2, 1, 7)})
    chosen = {"start_steps": 2, "mask_steps": 3, "size": 3, **options}
    method = methods.make("mst", **chosen)
    params = method.init(jax.random.key(0), student, teacher, K)
    return (
        method,
        params,
        student,
        teacher,
        method.init_memory(jax.random.key(1), params, targets()),
    )


def test_each_part_of_mst_has_its_own_terms_and_trains_its_own_parameters():
    method, params, student, teacher, memory = start_mst()

    @jax.jit
    def run(step):
        def total(student, params):
            now = {**memory, "step": step}
            terms, _ = method.run(params, student, teacher, targets(), now)
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
            part for part in ("classifier", "mask") for each in specialists if moves(each[part])
        }
        moved |= {"gate"} if moves(by_params["gate"]) else set()
        moved |= {"student"} if moves(by_student) else set()
        assert moved == groups, step


def test_the_specialists_of_the_third_part_are_those_at_its_start():
    method, params, student, teacher, memory = start_mst()
    run = jax.jit(method.run)
    at = {**memory, "step": jnp.int32(5)}
    expected, at = run(params, student, teacher, targets(), at)
    chex.assert_trees_all_equal(at["specialists"], params["specialists"])
    other = jax.tree.map(lambda x: 2 * x, params["specialists"])
    actual, _ = run({**params, "specialists": other}, student, teacher, targets(), at)
    np.testing.assert_array_equal(actual["route"], expected["route"])


@pytest.mark.parametrize("kind", ["kl", "cv"])
def test_even_use_of_the_specialists_costs_nothing_and_uneven_use_does(kind):
    even, uneven = (
        mst_module.balance_loss(jnp.asarray(use), kind) for use in ([0.5, 0.5], [0.9, 0.1])
    )
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


# mlld


def test_mlld_averages_over_temperatures():
    student, teacher = model(0), model(1)
    make = functools.partial(terms_of, "mlld", student, teacher)
    both, first, second = (make(temperatures=t) for t in ([2.0, 5.0], [2.0], [5.0]))
    for term in ("instance", "class", "batch"):
        close(both[term], (first[term] + second[term]) / 2)


# ofa


def test_ofa_teaches_every_stage_by_its_own_classifier():
    student, teacher = model(0, maps={"b": (2, 2, 3), "a": (4, 4, 2)}), model(1)
    method = methods.make("ofa")
    params = method.init(jax.random.key(0), student, teacher, K)
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


@pytest.mark.parametrize("name", ["ofa", "afd"])
def test_methods_of_stages_need_maps(name):
    with pytest.raises(ValueError, match=rf"{name} needs a student .*maps of"):
        methods.make(name).init(jax.random.key(0), model(0), model(1), K)


# rkd and similarity


def rotation():
    return np.linalg.qr(random(5, D, D))[0]


def test_rkd_does_not_see_where_the_batch_lies_how_large_it_is_or_which_way_it_is_turned():
    student, teacher = model(0), model(1)
    turned = jnp.asarray(3 * wide(student.features) @ rotation() + 1, jnp.float32)
    before, after = (
        terms_of("rkd", each, teacher) for each in (student, student.replace(features=turned))
    )
    for term in ("distance", "angle"):
        close(after[term][KEPT], before[term][KEPT], rtol=1e-3)


def test_similarity_compares_unit_rows_of_the_table_of_products():
    student, teacher = model(0, width=6), model(1)

    def table(outputs):
        features = wide(outputs.features)
        return unit(features @ features[KEPT].T)

    expected = np.sum((table(student) - table(teacher)) ** 2, axis=1) / len(KEPT)
    close(terms_of("similarity", student, teacher)["similarity"][KEPT], expected[KEPT])


@pytest.mark.parametrize("name", ["contrastive", "displacement", "rkd"])
def test_relations_of_sequences_are_those_of_their_means(name):
    student, teacher = (model(seed, rest=(3,)) for seed in (0, 1))
    pooled = [x.replace(features=x.features.mean(axis=1)) for x in (student, teacher)]
    actual, expected = terms_of(name, student, teacher), terms_of(name, *pooled)
    for term, value in expected.items():
        close(actual[term], value)


# afd


def test_a_teachers_stage_attends_to_all_of_the_students_with_weights_that_add_up_to_one():
    # If all of the student's maps are alike, what attention prefers makes no difference.
    stages = {"a": (2, 2, 3), "b": (2, 2, 3)}
    student, teacher = model(0, maps=stages), model(1, maps={"a": (2, 2, 4)})
    same = student.replace(maps=dict.fromkeys(stages, student.maps["a"]))
    activity = [wide(x.maps["a"] ** 2).mean(axis=-1).reshape(N, 4) for x in (same, teacher)]
    expected = oracles.mean_squared_error(*map(unit, activity))
    close(terms_of("afd", same, teacher, size=3)["attention"], expected, rtol=1e-4)


# join


def test_join_gives_each_method_its_own_parameters_and_names():
    student, teacher = model(0), model(1, width=6)
    options = {"logit": {"temperature": 2.0}, "mse": {}, "fd_cmkd": {"shared_heads": False}}
    joined = methods.make("join", methods=options)
    params = joined.init(jax.random.key(0), student, teacher, K)
    assert set(params) == set(options)
    terms = jax.jit(joined.terms)(params, student, teacher, targets())
    heads = joined.heads(params, student)
    for name, given in options.items():
        method = methods.make(name, **given)
        alone = jax.jit(method.terms)(params[name], student, teacher, targets())
        for term, value in alone.items():
            close(terms.pop(f"{name}_{term}"), value)
        for head, value in method.heads(params[name], student).items():
            close(heads.pop(f"{name}_{head}"), value)
    assert terms == heads == {}
    assert joined.label_terms == {"fd_cmkd_auxiliary"}


def test_a_joined_method_starts_alike_whatever_it_is_joined_with():
    student, teacher = model(0), model(1, width=6)

    def start(*names):
        joined = methods.make("join", methods={name: {} for name in names})
        return joined.init(jax.random.key(0), student, teacher, K)

    alone, beside = start("mse"), start("pkd", "mse")
    jax.tree.map(np.testing.assert_array_equal, alone["mse"], beside["mse"])
    assert np.any(beside["mse"]["adapter"]["kernel"] != beside["pkd"]["adapter"]["kernel"])


# multi_teacher


def several(**options):
    return methods.make("multi_teacher", method={"name": "mse"}, **options)


def test_fixed_gates_weigh_the_terms_towards_each_teacher():
    student, teacher = model(0), {"b": model(1, width=6), "a": model(2)}
    alone = {}
    method = several(shares={"a": 3.0, "b": 1.0})
    params = method.init(jax.random.key(0), student, teacher, K)
    for modality, each in teacher.items():
        own = params["methods"][modality]
        alone[modality] = terms_of("mse", student, each, params=own)["feature"]
    found = jax.jit(method.terms)(params, student, teacher, targets())["feature"]
    close(found, 0.75 * alone["a"] + 0.25 * alone["b"])
    equal = jax.jit(several().terms)(params, student, teacher, targets())["feature"]
    close(equal, 0.5 * alone["a"] + 0.5 * alone["b"])


def test_one_of_several_teachers_is_the_method_itself():
    student, teacher = model(0), model(1)
    method = several()
    params = method.init(jax.random.key(0), student, {"a": teacher}, K)
    found = method.terms(params, student, {"a": teacher}, targets())
    close(found["feature"], terms_of("mse", student, teacher)["feature"])


def test_learned_gates_start_equal_and_learn_from_the_label_alone():
    student, teacher = model(0), {"b": model(1, width=6), "a": model(2)}
    method = several(gates="learned")
    params = method.init(jax.random.key(0), student, teacher, K)
    fixed = jax.jit(several().terms)(params, student, teacher, targets())
    found = jax.jit(method.terms)(params, student, teacher, targets())
    close(found["feature"], fixed["feature"])
    chances = sum(np.exp(oracles.log_softmax(wide(each.logits))) for each in teacher.values()) / 2
    close(found["gate"], -np.log(chances[np.arange(N), targets().labels]))

    def total(gate, term):
        return jnp.sum(method.terms({**params, "gate": gate}, student, teacher, targets())[term])

    by_term = {term: jax.grad(total)(params["gate"], term) for term in method.names}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(by_term["feature"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(by_term["gate"]))


def test_a_gate_follows_its_teacher_through_jit_and_any_order():
    student, teacher = model(0), {"b": model(1, width=6), "a": model(2)}
    method = several(gates="learned")
    params = method.init(jax.random.key(0), student, teacher, K)
    params["gate"]["kernel"] = jnp.asarray(random(5, 6 + D, 2), jnp.float32)
    expected = method.terms(params, student, teacher, targets())
    backwards = dict(reversed(teacher.items()))
    for found in (
        jax.jit(method.terms)(params, student, teacher, targets()),
        method.terms(params, student, backwards, targets()),
    ):
        jax.tree.map(close, found, expected)


def test_shares_name_every_teacher():
    start = jax.random.key(0), model(0), {"a": model(1), "b": model(2)}, K
    with pytest.raises(ConfigError, match=r"unknown teacher in shares: 'depth'; known: a, b"):
        several(shares={"a": 1.0, "b": 1.0, "depth": 1.0}).init(*start)
    with pytest.raises(ConfigError, match="shares name each teacher or none; 'b' is missing"):
        several(shares={"a": 1.0}).init(*start)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("multi_teacher", {"method": {}}, "'multi_teacher' needs a method with a name in it"),
        ("multi_teacher", {"method": {"name": "c2kd"}}, "'multi_teacher' cannot use 'c2kd'"),
        (
            "multi_teacher",
            {"method": {"name": "mse"}, "gates": "soft"},
            "gates must be 'fixed' or 'learned', got 'soft'",
        ),
        (
            "multi_teacher",
            {"method": {"name": "mse"}, "shares": {"a": 0}},
            "shares.a must be a positive number, got 0",
        ),
        (
            "multi_teacher",
            {"method": {"name": "mse"}, "shares": {"a": 1.0}, "gates": "learned"},
            "shares are for fixed gates",
        ),
        (
            "join",
            {"methods": {"mse": {}, "multi_teacher": {"method": {"name": "logit"}}}},
            "cannot mix methods of one teacher and of several",
        ),
        ("afd", {"size": 0}, "method 'afd': size must be positive, got 0"),
        (
            "contrastive",
            {"targets": "soft"},
            "targets must be one of hard, smoothed, low_band, got",
        ),
        ("contrastive", {"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ("contrastive", {"smoothing": 1.0}, r"smoothing must lie in \[0, 1\), got 1.0"),
        ("contrastive", {"cutoff": 1.0}, r"cutoff must lie inside \(0, 1\), got 1.0"),
        ("displacement", {"temperature": -1.0}, "temperature must be positive, got -1.0"),
        ("dist", {"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ("dkd", {"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ("mlld", {"temperatures": []}, r"temperatures must be a list of numbers, got \[\]"),
        ("mlld", {"temperatures": ["4"]}, r"temperatures must be a list of numbers, got \['4'\]"),
        ("mlld", {"temperatures": [4.0, 0.0]}, "temperature must be positive, got 0.0"),
        ("ofa", {"gamma": 0.5}, "gamma must be at least 1, got 0.5"),
        ("ofa", {"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ("join", {"methods": {}}, "method 'join' needs at least one method"),
        ("join", {"methods": {"logit": 4}}, "'join': methods.logit must hold options, got 4"),
    ],
)
def test_a_bad_value_is_refused_before_training(name, options, message):
    with pytest.raises(ConfigError, match=message):
        methods.make(name, **options)
