"""The host's stage: transform, augmentation, and the partners of broken pairs."""

import jax
import numpy as np
import pytest
import raw_data

from fdcmkd_jax.data import augment
from fdcmkd_jax.data.host import AsEvaluated, HostStage

RECORD, OTHER = raw_data.records("train", 2)
CHANGES = {
    "audio": augment.make("mask_frames", max_frames=3),
    "image": augment.make("shift", pixels=2),
}


def arrays(seed=0):
    random = np.random.default_rng(seed)
    return {
        "audio": random.uniform(1, 2, size=(5, 3)),
        "image": random.uniform(1, 2, size=(6, 6, 1)),
        "label": np.int32(seed),
        "id": np.int32(10 + seed),
    }


def generator(seed=3):
    return np.random.default_rng(seed)


def assert_same(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


STAGES = {
    "transform": (HostStage(raw_data.transform, ("image",), ("audio",)), RECORD, OTHER),
    "augmentation": (HostStage(None, ("image",), ("audio",), CHANGES), arrays(), arrays(1)),
    "teacher of both": (
        HostStage(None, ("image",), ("audio", "image"), CHANGES),
        arrays(),
        arrays(1),
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_partner_identical_to_the_example_gives_the_bits_of_the_true_pair(name):
    stage, record, _ = STAGES[name]
    for seed in range(20):
        true = stage(record, generator(seed))
        paired = stage({**record, "partner": record}, generator(seed))
        assert_same(paired["image"], true["image"])
        for modality in stage.teacher_modalities:
            assert_same(paired["partner"][modality], true[modality])


@pytest.mark.parametrize("name", STAGES)
def test_a_partner_is_augmented_too(name):
    stage, record, other = STAGES[name]
    forms = {
        jax.tree.leaves(stage({**record, "partner": other}, generator(seed))["partner"]["audio"])[
            0
        ].tobytes()
        for seed in range(30)
    }
    assert len(forms) > 1


@pytest.mark.parametrize("name", STAGES)
def test_one_state_of_the_generator_gives_one_example_and_evaluation_always_the_same(name):
    stage, record, _ = STAGES[name]
    assert_same(stage(record, generator()), stage(record, generator()))
    assert_same(stage(record, None), stage(record, None))
    images = {
        jax.tree.leaves(stage(record, generator(seed))["image"])[0].tobytes() for seed in range(30)
    }
    assert len(images) > 3


def test_the_draws_of_a_modality_do_not_depend_on_who_reads_the_others():
    alone = HostStage(None, ("image",), (), CHANGES)
    together = HostStage(None, ("image",), ("audio",), CHANGES)
    for seed in range(10):
        one, both = (stage(arrays(), generator(seed)) for stage in (alone, together))
        assert_same(one["image"], both["image"])


def test_only_the_modalities_that_are_read_are_made():
    stage, record, other = STAGES["transform"]
    assert set(stage(record, None)) == {"audio", "image", "label", "id"}
    paired = stage({**record, "partner": other}, None)
    assert set(paired) == {"image", "label", "id", "partner"}
    assert set(paired["partner"]) == {"audio", "label", "id"}
    alone = HostStage(raw_data.transform, ("image",))
    stored = alone({**record, "teacher": {"audio": np.zeros(4)}, "partner": other}, None)
    assert set(stored) == {"image", "label", "id", "teacher"}
    both = HostStage(raw_data.transform, ("image", "audio"))
    assert set(both(record, None)) == {"audio", "image", "label", "id"}


def test_what_the_pipeline_added_is_passed_on_and_hidden_from_the_transform():
    keys = []

    def transform(record, random, modalities):
        keys.append(set(record))
        return raw_data.transform(record, random, modalities)

    added = {"labelled": np.False_, "mask": np.True_}
    example = HostStage(transform, ("image",))({**RECORD, **added}, None)
    assert {name: example[name] for name in added} == added
    assert keys == [set(RECORD)]


def test_evaluation_does_not_augment():
    assert_same(HostStage(None, ("image",), (), CHANGES)(arrays(), None), arrays())


def test_a_split_as_evaluated_has_the_examples_of_evaluation():
    stage = STAGES["transform"][0]
    split = AsEvaluated([RECORD, OTHER], stage)
    assert len(split) == 2
    assert_same(split[1], stage(OTHER, None))
