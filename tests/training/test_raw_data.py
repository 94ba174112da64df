"""Training on a data set of three stages: resumed, with workers, with broken pairs, exported."""

import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import raw_data
from builders import toy_config
from run_files import BUILD_MODULE, Cut, arrays, assert_same_model, rows, untimed_rows

from fdcmkd_jax import config as configs
from fdcmkd_jax import experiment, models
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import log
from fdcmkd_jax.training.feed import Feed
from fdcmkd_jax.training.start import with_teacher_outputs
from fdcmkd_jax.training.state import abstract_variables

pytestmark = pytest.mark.usefixtures("two_devices")

STUDENT = "students/audio-to-image"


def raw_config(**changes):
    config = {"data.name": "raw_data:raw_data", "directions": ("audio->image",)}
    config["train.num_epochs"] = 10  # After two, the student is hardly better than chance.
    return toy_config(**{**config, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run in one thread."""
    workdir = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        use = BUILD_MODULE.Devices
        patch.setattr(BUILD_MODULE, "Devices", lambda parallel: use(parallel, jax.devices()[:2]))
        experiment.run(raw_config(), workdir, with_report=False)
    return workdir


def test_a_run_cut_off_continues_with_threads_and_workers_to_the_same_bits(
    whole, tmp_path, monkeypatch
):
    write, written = log.Log.write, []

    def write_or_cut(self, row):
        written.append(row)
        if len(written) == 13:  # In the student's training.
            raise Cut
        write(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(log.Log, "write", write_or_cut)
        with pytest.raises(Cut):
            experiment.run(raw_config(), tmp_path, with_report=False)
    settings = json.loads((tmp_path / "config.json").read_text())
    reading = {"num_threads": 2, "num_workers": 2, "prefetch_batches": 4}
    settings["input"].update(reading)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    changes = {f"input.{name}": value for name, value in reading.items()}
    config = ml_collections.ConfigDict(raw_config())
    config.input.update(reading)
    experiment.run(config, tmp_path, with_report=False)
    assert changes
    for folder, total in (("teachers/audio", 10), (STUDENT, 50)):
        assert_same_model(tmp_path / folder, whole / folder, total)


def test_models_learn_from_raw_arrays(whole):
    entry = json.loads((whole / "results.json").read_text())
    assert entry["teachers"]["audio"]["test"]["accuracy"] > 0.5
    assert entry["students"]["audio->image"]["test"]["accuracy"] > 0.5


def test_the_metadata_of_a_model_has_the_shape_of_its_networks_input(whole):
    description = json.loads((whole / STUDENT / "model.json").read_text())
    assert description["input_shape"] == [8, 8, 2]
    description = json.loads((whole / "teachers/audio/model.json").read_text())
    assert description["input_shape"] == [6, 4, 1]


def test_every_row_of_the_log_states_the_share_of_time_spent_waiting(whole):
    shares = [row["waiting_for_data"] for row in rows(whole / STUDENT, "train")]
    assert len(shares) > 3
    assert all(0 <= share <= 1 for share in shares)
    assert "waiting_for_data" not in untimed_rows(whole / STUDENT)[0]


def test_a_teacher_of_another_seed_is_accepted_where_the_split_does_not_depend_on_it(
    whole, tmp_path
):
    checkpoints = {"audio": str(whole / "teachers/audio"), "image": ""}
    config = raw_config(seed=5, **{"teacher.checkpoints": checkpoints, "train.num_epochs": 1})
    results = experiment.run(config, tmp_path, with_report=False)
    assert results["teachers"]["audio"]["loaded_from"] == checkpoints["audio"]
    config.data.name = "builders:toy_data"
    with pytest.raises(ConfigError, match="trained with seed 0, this run has seed 5"):
        experiment.run(config, tmp_path / "drawn", with_report=False)


def job_and_context(config, tmp_path, variables_of):
    plan = configs.build(configs.resolve(config), tmp_path)
    teacher = experiment.Teacher(plan.models["audio"], "audio", variables_of(plan))
    job = experiment.student_job(plan, plan.directions[0], {"audio": teacher})
    return job, plan.context


def drawn(plan):
    x = plan.input_of("audio")
    variables = plan.models["audio"].init(jax.random.key(0), x, train=False)
    return {name: variables[name] for name in ("params", "batch_stats")}


@pytest.mark.parametrize(
    ("augmented", "kept"), [((), True), (("image",), True), (("audio",), False)]
)
def test_outputs_of_a_teacher_are_kept_unless_its_input_is_augmented(
    tmp_path, monkeypatch, augmented, kept
):
    plain = raw_data.raw_data

    def changed(*, data_dir, seed):
        return plain(data_dir=data_dir, seed=seed)._replace(augmented=augmented)

    monkeypatch.setattr(raw_data, "raw_data", changed)
    job, context = job_and_context(raw_config(), tmp_path, drawn)
    source, running = with_teacher_outputs([job], context)
    assert ("teacher" in source[0]) == kept
    assert ("audio" in running) != kept


def test_a_preprocessed_model_has_the_variables_of_its_backbone():
    backbone = models.make("resnet_tiny", num_classes=3)
    raw = {"picture": jnp.zeros((2, 8, 8, 2), jnp.uint8)}
    both = models.Preprocessed(backbone, raw_data.normalize_picture)
    expected = abstract_variables(backbone, raw_data.normalize_picture(raw))
    actual = abstract_variables(both, raw)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    variables = backbone.init(jax.random.key(1), raw_data.normalize_picture(raw), train=False)
    kept = {name: variables[name] for name in ("params", "batch_stats")}
    jax.tree.map(
        np.testing.assert_array_equal,
        both.apply(kept, raw, train=False),
        backbone.apply(kept, raw_data.normalize_picture(raw), train=False),
    )


class Sums:
    """The result of a step that runs, or has ended."""

    def __init__(self, ready):
        self.ready = ready

    def is_ready(self):
        return self.ready


class Batches:
    """Numbers that come slowly."""

    def __init__(self, monkeypatch, clock):
        self.count, self.clock = 0, clock
        monkeypatch.setattr("fdcmkd_jax.training.feed.time.monotonic", lambda: clock[0])

    def get_state(self):
        return {"next_index": self.count}

    def __next__(self):
        self.count += 1
        self.clock[0] += 3.0
        return self.count


class Unchanged:
    def split(self, batch):
        return batch


def test_a_wait_counts_only_if_no_step_runs_meanwhile(monkeypatch):
    clock = [0.0]
    feed = Feed(Batches(monkeypatch, clock), Unchanged())
    assert feed.take() == 1
    assert feed.waiting_share() == 1.0
    clock[0] += 3.0
    feed.read_ahead([Sums(False)])
    assert feed.waiting_share() == 3 / 9
    feed.start_row()
    feed.take()
    feed.read_ahead([Sums(True), Sums(True)])
    clock[0] += 9.0
    assert feed.waiting_share() == 3 / 12


def test_the_position_is_that_of_the_batch_taken_last(monkeypatch):
    feed = Feed(Batches(monkeypatch, [0.0]), Unchanged())
    assert feed.position == {"next_index": 0}
    for count in (1, 2, 3):
        assert feed.take() == count
        feed.read_ahead([Sums(True)])
        assert feed.position == {"next_index": count}


def test_arrays_of_a_finished_run_leave_no_spilled_outputs(whole):
    assert not list((whole / STUDENT).glob("*.array_record"))
    assert arrays(whole / STUDENT, 50)["weights"]
