"""The batch that the steps read, assembled from stacked examples."""

import jax
import numpy as np

from fdcmkd_jax import tasks
from fdcmkd_jax.data.host import HostStage
from fdcmkd_jax.data.input import InputOptions, assemble
from fdcmkd_jax.data.pairing import View
from fdcmkd_jax.data.stream import eval_batches, train_batches
from fdcmkd_jax.types import Batch, Outputs

N = 4
TASK = tasks.classification(num_classes=3)


def stacked(**more):
    """Stacked examples of two modalities."""
    random = np.random.default_rng(0)
    return {
        "audio": random.normal(size=(N, 5)).astype(np.float32),
        "image": random.normal(size=(N, 2, 2)).astype(np.float32),
        "label": np.array([0, 1, 2, 0], np.int32),
        "labelled": np.array([True, False, True, True]),
        "mask": np.array([True, True, True, False]),
        "id": np.arange(N, dtype=np.int32),
        **more,
    }


def test_a_batch_holds_the_students_input_and_its_targets():
    examples = stacked()
    batch = assemble(examples, task=TASK, modalities=("image",))
    assert isinstance(batch, Batch)
    assert set(batch.inputs) == {"image"}
    assert batch.inputs["image"] is examples["image"]
    assert batch.teacher_inputs == {}
    assert batch.teacher_outputs is None
    for name in ("labelled", "mask", "id"):
        np.testing.assert_array_equal(getattr(batch.targets, name), examples[name])
    np.testing.assert_array_equal(batch.targets.labels, examples["label"])
    assert batch.targets.num_classes == 3


def test_a_teacher_reads_the_same_examples():
    examples = stacked()
    batch = assemble(
        examples, task=TASK, modalities=("image",), teacher_modalities=("audio", "image")
    )
    assert set(batch.teacher_inputs) == {"audio", "image"}
    assert batch.teacher_inputs["audio"] is examples["audio"]


def test_where_pairs_are_broken_the_teacher_reads_the_partners():
    partner = {"audio": -stacked()["audio"], "image": -stacked()["image"]}
    batch = assemble(
        stacked(partner=partner), task=TASK, modalities=("image",), teacher_modalities=("audio",)
    )
    assert batch.teacher_inputs["audio"] is partner["audio"]
    np.testing.assert_array_equal(batch.inputs["image"], stacked()["image"])


def test_outputs_computed_earlier_are_those_of_each_teacher():
    record = {"logits": np.zeros((N, 3)), "features": np.ones((N, 7))}
    batch = assemble(stacked(teacher={"audio": record}), task=TASK, modalities=("image",))
    outputs = batch.teacher_outputs["audio"]
    assert batch.teacher_inputs == {}
    assert isinstance(outputs, Outputs)
    assert outputs.features is record["features"]
    assert outputs.maps == {}


def test_stored_features_without_logits_have_none():
    examples = stacked(teacher={"audio": {"features": np.ones((N, 7))}})
    batch = assemble(examples, task=TASK, modalities=("image",))
    assert batch.teacher_outputs["audio"].logits is None


def test_models_that_train_together_read_one_batch():
    examples = stacked()
    batch = assemble(examples, task=TASK, modalities=("image", "audio"))
    assert {name: batch.inputs[name] is examples[name] for name in batch.inputs} == {
        "image": True,
        "audio": True,
    }


def test_a_batch_passes_through_jit_and_a_stream():
    rows = [
        {name: value[row] for name, value in stacked().items() if name not in ("labelled", "mask")}
        for row in range(N)
    ]
    split = View(rows)

    def make_batch(examples):
        return assemble(examples, task=TASK, modalities=("image",), teacher_modalities=("audio",))

    stage, options = HostStage(None, ("image",), ("audio",)), InputOptions(batch_size=2)
    batch = next(train_batches(split, options, make_batch, stage, seed=0))
    again = jax.jit(lambda x: x)(batch)
    jax.tree.map(np.testing.assert_array_equal, again, batch)
    (evaluated, _) = eval_batches(rows, 2, make_batch, stage, options)
    np.testing.assert_array_equal(evaluated.inputs["image"], stacked()["image"][:2])
    assert evaluated.targets.labelled.all()
