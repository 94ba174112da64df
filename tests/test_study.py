"""Studies from hand-made cells: what a file may say, what is run, what the numbers say."""

import csv
import dataclasses
import io
import json
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_report import Tags, make_run

from fdcmkd_jax import losses, methods, plan, study
from fdcmkd_jax.report import style
from fdcmkd_jax.study import __main__ as command_line
from fdcmkd_jax.study import page, spec, tables, work
from fdcmkd_jax.tables import ConfigError

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))
DIRECTIONS = ("audio->image", "image->audio")
TEXT = f"""
title = "Toy"
question = "Does it work?"
config = "{ROOT / "configs" / "av_digits.py"}"
seeds = 3
baseline = "none"
margin = 1.0

[arms.none]
label = "no distillation"
presets = "none"

[arms.fd_cmkd]
label = "FD-CMKD"
controls = ["mismatched", "relabelled"]

[arms.mismatched]
presets = "mismatched"

[arms.relabelled]
presets = "relabelled"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def toy(file):
    return study.read(file)


def changed(file, old, new):
    """The study of the file with one text replaced."""
    assert old in TEXT
    file.write_text(TEXT.replace(old, new), encoding="utf-8")
    return study.read(file)


def put(workdir, cell, accuracies, *, val=0.5, test_rows=()):
    """Leaves a finished cell; accuracies by direction, shares of 1, and of the last step 0.1 less.

    Args:
        workdir: The study's.
        cell: Which.
        accuracies: Test accuracies by direction.
        val: Validation accuracy of all.
        test_rows: Test accuracies ``(main, head)`` by epoch, if the run selected by them.
    """
    folder = workdir / cell.folder
    entries = {
        direction: {
            "selected_step": 20,
            "val": {"accuracy": val},
            "test": {"accuracy": accuracy},
            "last": {"test": {"accuracy": accuracy - 0.1}},
        }
        for direction, accuracy in accuracies.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"split": "test", "step": step, "accuracy": main, "heads": {"low": {"accuracy": head}}}
        for step, (main, head) in enumerate(test_rows)
    ]
    for step in (10, 20):
        terms = {"task": 1.0, "low": 0.1}
        norms = {"task": 3.0, "low": 1.0}
        rows.append({"split": "train", "step": step, "terms": terms, "gradient_norms": norms})
    for direction in entries:
        model = folder / plan.Direction.parse(direction).folder
        model.mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (model / "metrics.jsonl").write_text(text, encoding="utf-8")
    split = "test" if test_rows else "val"
    weights = {"task": 1.0} if cell.arm == "none" else {"task": 1.0, "low": 10.0}
    config = {"evaluate": {"select_split": split}, "weights": weights}
    results = {"students": entries, "teachers": {"audio": {"test": {"accuracy": 0.8}}}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps(results))


def fill(workdir, arms, **options):
    """Leaves cells of one direction: accuracies in percent by arm, one a seed."""
    for arm, values in arms.items():
        for seed, value in enumerate(values):
            put(workdir, spec.Cell(arm, seed), {DIRECTIONS[0]: value / 100}, **options)


GOOD = {
    "none": [80.0, 81.0, 82.0],
    "fd_cmkd": [85.0, 86.1, 86.9],
    "mismatched": [80.0, 80.9, 82.1],
    "relabelled": [84.9, 86.0, 87.1],
}


def test_two_arms_of_one_config_are_refused(file):
    text = file.read_text(encoding="utf-8") + "\n[arms.again]\noverrides.method.cutoff = 0.5\n"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="arms 'fd_cmkd' and 'again' are the same config"):
        spec.check(study.read(file))


def test_a_folder_without_finished_cells_cannot_be_reused(toy, tmp_path):
    with pytest.raises(ConfigError, match="holds no finished cell of a study to reuse"):
        work.reuse(toy, study.cells(toy), tmp_path / "study", tmp_path)


class TestFiles:
    @pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
    def test_every_study_of_the_repository_names_what_the_config_has(self, path):
        found = study.read(path)
        spec.check(found)
        assert found.question
        assert found.seeds > 2
        for arm in found.arms:
            settings = plan.resolve(spec.config_of(found, spec.Cell(arm, 0), Path("/study")))
            names = methods.make(**settings["method"]).names
            losses.check_weights(settings["weights"], ("task", *names))

    def test_table_1_holds_every_method_at_its_preset(self):
        arms = study.read(ROOT / "studies" / "table1.toml").arms.values()
        assert {arm.presets or "fd_cmkd" for arm in arms} == set(methods.names()) - {
            "multi_teacher"
        }
        assert not any(arm.overrides for arm in arms)

    def test_presets_come_before_overrides_and_the_studys_before_the_arms(self, file):
        found = changed(
            file,
            'margin = 1.0\n\n[arms.none]\nlabel = "no distillation"\npresets = "none"',
            'margin = 1.0\npresets = "unlabelled"\noverrides.weights.task = 2\n'
            '[arms.none]\npresets = "none"\noverrides.train.num_epochs = 7',
        )
        assert found.arms["none"].presets == "unlabelled,none"
        config = spec.config_of(found, spec.Cell("none", 2), Path("/study"))
        assert (config.data.labelled_per_class, config.method.name) == (20, "none")
        assert (config.seed, config.train.num_epochs, config.weights.task) == (2, 7, 2.0)

    def test_all_cells_of_a_seed_share_data_and_the_baselines_teachers(self, toy):
        config = spec.config_of(toy, spec.Cell("fd_cmkd", 1), Path("/study"))
        assert config.data.data_dir == "/study/data"
        assert config.teacher.checkpoints.to_dict() == {
            name: f"/study/cells/none/seed1/teachers/{name}" for name in ("audio", "image")
        }
        own = spec.config_of(toy, spec.Cell("none", 1), Path("/study"))
        assert own.teacher.checkpoints.to_dict() == {"audio": "", "image": ""}

    def test_an_untrained_teacher_is_not_replaced_by_the_shared_one(self, file):
        found = changed(file, 'presets = "relabelled"', 'presets = "random"')
        config = spec.config_of(found, spec.Cell("relabelled", 1), Path("/study"))
        assert config.teacher.num_epochs == 0
        assert config.teacher.checkpoints.to_dict() == {"audio": "", "image": ""}

    def test_a_grid_makes_one_arm_a_place_of_its_lists_with_the_control_of_that_place(self):
        found = study.read(ROOT / "studies" / "weights.toml").arms
        assert list(found)[:3] == ["none", "weight_1", "weight_10"]
        assert found["weight_10"].overrides == {"weights.low": 10.0, "weights.high": 10.0}
        assert found["weight_10"].label == "FD-CMKD, weight 10"
        assert found["weight_10"].controls == ("relabelled_10",)
        assert found["relabelled_10"].presets == "relabelled"

    def test_the_baseline_at_the_configs_own_rate_trains_the_teachers(self, file):
        found = changed(file, "seeds = 3", "seeds = 3\nlearning_rates = [0.03, 0.1]")
        cells = study.cells(found)
        assert len(cells) == 3 * 4 * 2
        assert cells[0] == spec.Cell("none", 0, 0.1) == spec.teacher_cell(found, 0)
        assert len({cell.folder for cell in cells}) == len(cells)
        config = spec.config_of(found, spec.Cell("none", 0, 0.03), Path("/study"))
        assert config.optim.learning_rate == 0.03
        assert config.teacher.checkpoints.audio == "/study/cells/none/rate0.1/seed0/teachers/audio"


def mistakes():
    """Name, text replaced in the study file, replacement, further flags, what the answer says."""
    arm = "[arms.none]\n"
    return [
        ("unknown key", "seeds", "seed", (), ("unknown option of study 'toy': 'seed'", "'seeds'?")),
        ("missing key", "margin = 1.0", "", (), ("study 'toy' needs the option 'margin'",)),
        ("wrong type", "seeds = 3", "seeds = 'x'", (), ("seeds must be a whole number, got 'x'",)),
        ("one seed", "seeds = 3", "seeds = 1", (), ("at least two seeds, got seeds = 1",)),
        ("one seed by flag", "T", "T", ("--seeds=1",), ("at least two seeds, got --seeds=1",)),
        ("no margin", "margin = 1.0", "margin = 0.0", (), ("margin must be positive",)),
        ("not TOML", "seeds = 3", "seeds 3", (), ("toy.toml is not TOML", "line")),
        ("no config", "av_digits.py", "digits.py", (), ("config file", "digits.py does not exist")),
        ("unknown arm", '"mismatched",', '"mismatch",', (), ("'mismatch'", "'mismatched'?")),
        ("no baseline", 'ne = "none"', 'ne = "nine"', (), ("arm in baseline: 'nine'", "'none'?")),
        ("arm of a flag", "T", "T", ("--arms=fd",), ("arm in --arms: 'fd'", "fd_cmkd")),
        ("arm's key", arm, f"{arm}color = 1\n", (), ("option of arm 'none': 'color'", "controls")),
        ("arm no table", "[arms.none]", "arms.x = 3\n[arms.none]", (), ("arm 'x' must hold keys",)),
        ("arm no folder", "arms.none", "arms.'a/b'", (), ("letters, digits", "'a/b'")),
        ("preset", 's = "none"', 's = "non"', (), ("arm 'none'", "unknown preset 'non'")),
        (
            *("config key", arm, f"{arm}overrides.optim.rate = 1\n", ()),
            ("arm 'none': unknown config key in optim.rate: 'rate'", "learning_rate"),
        ),
        (
            *("config value", arm, f"{arm}overrides.seed = 'x'\n", ()),
            ("arm 'none': seed cannot be 'x'",),
        ),
        (
            *("uneven grid", arm, f"{arm}grid = {{ seed = [1], data.batch_size = [1, 2] }}\n", ()),
            ("arm 'none'", "one common length"),
        ),
        (
            *("rates", "seeds = 3", "seeds = 3\nlearning_rates = [0.3]", ()),
            ("learning_rates must hold the config's own 0.1",),
        ),
        ("no jobs", "T", "T", ("--jobs=0",), ("--jobs must be positive, got 0",)),
        ("flag", "T", "T", ("--job-count=2",), ("unrecognized arguments: --job-count=2",)),
        ("flag value", "T", "T", ("--seeds=many",), ("--seeds", "invalid int value: 'many'")),
    ]


class TestCommand:
    def fails(self, capsys, *arguments):
        """The one line with which a command is refused."""
        with pytest.raises(SystemExit) as caught:
            command_line.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (caught.value.code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert err.startswith("study: ")
        return err

    @pytest.mark.parametrize("mistake", mistakes(), ids=[mistake[0] for mistake in mistakes()])
    def test_a_mistake_is_answered_by_one_line_and_nothing_is_written(
        self, mistake, file, tmp_path, capsys
    ):
        _, old, new, flags, says = mistake
        assert old in TEXT
        file.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
        said = self.fails(capsys, file, f"--workdir={tmp_path / 'runs'}", *flags)
        assert [text for text in says if text not in said] == [], said
        assert not (tmp_path / "runs").exists()

    def test_a_study_file_that_does_not_exist_is_named(self, tmp_path, capsys):
        said = self.fails(capsys, tmp_path / "no.toml", f"--workdir={tmp_path}")
        assert "cannot read the study file" in said
        assert "no.toml: No such file" in said

    def test_a_command_without_a_workdir_is_refused(self, file, capsys):
        assert "--workdir" in self.fails(capsys, file)

    def test_a_workdir_of_another_study_is_refused_with_the_difference(
        self, file, tmp_path, capsys
    ):
        workdir = tmp_path / "runs"
        work.claim(changed(file, "margin = 1.0", "margin = 0.5"), workdir)
        file.write_text(TEXT, encoding="utf-8")
        said = self.fails(capsys, file, f"--workdir={workdir}", "--report-only")
        assert "holds another study (margin: 0.5 there, 1.0 now); choose another" in said

    def test_a_workdir_in_use_is_refused(self, file, tmp_path, capsys):
        with work.locked(tmp_path / "runs"):
            said = self.fails(capsys, file, f"--workdir={tmp_path / 'runs'}", "--report-only")
        assert "another process is running a study in" in said

    def test_a_workdir_that_is_a_file_is_refused(self, file, tmp_path, capsys):
        said = self.fails(capsys, file, f"--workdir={file}")
        assert f"cannot read or write {file}: File exists" in said

    def test_a_report_of_a_workdir_that_does_not_exist_is_refused(self, file, tmp_path, capsys):
        said = self.fails(capsys, file, f"--workdir={tmp_path / 'runs'}", "--report-only")
        assert "runs does not exist; without --report-only the study is run" in said
        assert not (tmp_path / "runs").exists()

    def test_help_says_what_a_study_file_holds_and_where_results_go(self, capsys):
        with pytest.raises(SystemExit) as caught:
            command_line.main(["--help"])
        text = capsys.readouterr().out
        assert caught.value.code == 0
        keys = ("title", "question", "config", "seeds", "baseline", "margin", "learning_rates")
        for name in (*keys, "label", "overrides", "grid", "controls", "study.html", "failed.json"):
            assert name in text

    def test_a_dry_run_lists_cells_and_what_is_done_and_writes_nothing(
        self, file, tmp_path, capsys
    ):
        workdir = tmp_path / "runs"
        fill(workdir, {"none": [80.0]})
        before = sorted(workdir.rglob("*"))
        flags = ("--dry-run", "--seeds=2", "--arms=fd_cmkd")
        assert command_line.main([str(file), f"--workdir={workdir}", *flags]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "done    none, seed 0",
            "missing fd_cmkd, seed 0",
            "missing none, seed 1",
            "missing fd_cmkd, seed 1",
            "1 of 4 cells are done.",
        ]
        assert sorted(workdir.rglob("*")) == before


class FakeWorker:
    """Finishes a cell at once; cells named in ``failing`` fail. Keeps what it was given."""

    failing = ()
    seen = ()

    def __init__(self, study, workdir, cores):
        del study
        self.connection, self._theirs = Pipe()
        self.cores, self._workdir, self._given, self.arm = cores, workdir, 0, ""

    @property
    def spent(self):
        return self._given >= 2

    def give(self, cell):
        self._given += 1
        self._cell, self.arm = cell, cell.arm
        type(self).seen += (cell,)
        self._theirs.send(None)

    def answer(self):
        self.connection.recv()
        if self._cell.arm in self.failing:
            return self._cell, "it was told to"
        put(self._workdir, self._cell, {DIRECTIONS[0]: 0.5})
        return self._cell, ""

    def stop(self):
        self.connection.close()
        self._theirs.close()


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setattr(work, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "seen", ())
    monkeypatch.setattr(FakeWorker, "failing", ())
    return FakeWorker


class TestRunning:
    @pytest.mark.parametrize("jobs", [1, 2, 5])
    def test_every_cell_is_run_once_and_after_its_teachers(self, jobs, toy, workers, tmp_path):
        work.run_cells(toy, study.cells(toy), tmp_path, jobs=jobs)
        assert sorted(map(str, workers.seen)) == sorted(map(str, study.cells(toy)))
        for cell in workers.seen:
            before = workers.seen[: workers.seen.index(cell)]
            assert cell.arm == "none" or spec.teacher_cell(toy, cell.seed) in before

    def test_a_worker_stays_with_its_arm_and_then_takes_one_that_no_other_holds(self):
        ready = [spec.Cell(arm, seed) for seed in range(2) for arm in ("a", "b", "c")]
        assert work._preferred(ready, "c", {"a"}) == spec.Cell("c", 0)
        assert work._preferred(ready, "gone", {"a"}) == spec.Cell("b", 0)
        assert work._preferred(ready, "gone", {"a", "b", "c"}) == spec.Cell("a", 0)

    def test_a_finished_cell_is_skipped_and_a_failed_one_tried_again(
        self, toy, workers, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(workers, "failing", ("mismatched",))
        work.run_cells(toy, study.cells(toy), tmp_path, jobs=1)
        failed = [cell for cell in study.cells(toy) if cell.arm == "mismatched"]
        assert {work.reason(cell, tmp_path) for cell in failed} == {"it was told to"}
        monkeypatch.setattr(workers, "failing", ())
        monkeypatch.setattr(workers, "seen", ())
        work.run_cells(toy, study.cells(toy), tmp_path, jobs=1)
        assert list(workers.seen) == failed
        assert {study.status(cell, tmp_path) for cell in study.cells(toy)} == {"done"}

    def test_cells_whose_teachers_failed_say_so_and_other_seeds_go_on(
        self, toy, workers, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(workers, "failing", ("none",))
        put(tmp_path, spec.Cell("none", 2), {DIRECTIONS[0]: 0.5})
        work.run_cells(toy, study.cells(toy), tmp_path, jobs=2)
        why = work.reason(spec.Cell("fd_cmkd", 0), tmp_path)
        assert why == "its teachers are missing: none, seed 0: it was told to"
        assert study.status(spec.Cell("fd_cmkd", 2), tmp_path) == "done"

    def test_named_arms_are_run_with_the_baseline(self, toy):
        found = study.chosen_cells(toy, ["fd_cmkd"])
        assert {cell.arm for cell in found} == {"none", "fd_cmkd"}

    def test_arms_seeds_and_words_may_be_added_to_a_workdir(self, toy, file, tmp_path):
        work.claim(toy, tmp_path)
        more = changed(
            file, "seeds = 3", 'seeds = 9\narms.logit = { presets = "logit", label = "L" }'
        )
        work.claim(dataclasses.replace(more, title="Other words"), tmp_path)
        with pytest.raises(ConfigError, match=r"arms\.logit: .* there, None now"):
            work.claim(toy, tmp_path)

    def test_a_finished_cell_of_another_config_is_refused_with_the_difference(self, toy, tmp_path):
        cell = spec.Cell("fd_cmkd", 0)
        config = spec.config_of(toy, cell, Path("/elsewhere"))
        folder = tmp_path / cell.folder
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(plan.resolve(config)))
        work.check_config(toy, cell, tmp_path)
        config.evaluate.batch_size, config.data.num_threads = 7, 3
        (folder / "config.json").write_text(json.dumps(plan.resolve(config)))
        work.check_config(toy, cell, tmp_path)
        config.weights.low = 3.0
        (folder / "config.json").write_text(json.dumps(plan.resolve(config)))
        with pytest.raises(ConfigError, match=r"weights\.low: 3\.0 there, 10\.0 now"):
            work.check_config(toy, cell, tmp_path)


class TestAnalysis:
    def test_gains_are_paired_with_the_baseline_and_corrected_over_the_arms(self, toy, tmp_path):
        fill(tmp_path, GOOD)
        found = study.analyse(toy, tmp_path).findings[DIRECTIONS[0]]
        assert found["none"].baseline is None
        raw = [
            stats.ttest_rel(GOOD[arm], GOOD["none"]).pvalue
            for arm in ("fd_cmkd", "mismatched", "relabelled")
        ]
        against = found["fd_cmkd"].baseline
        assert against.comparison.gain.mean == pytest.approx(5.0)
        assert against.comparison.p == pytest.approx(raw[0], rel=1e-6)
        assert raw[0] == sorted(raw)[1]
        assert against.p == pytest.approx(max(3 * min(raw), 2 * raw[0]), rel=1e-6)

    def test_the_control_compared_with_is_the_best_one(self, toy, tmp_path):
        fill(tmp_path, GOOD)
        against = study.analyse(toy, tmp_path).findings[DIRECTIONS[0]]["fd_cmkd"].control
        assert against.other == "relabelled"
        assert against.comparison.gain.mean == pytest.approx(0.0, abs=1e-9)
        expected = stats.ttest_rel(GOOD["fd_cmkd"], GOOD["relabelled"]).pvalue
        assert against.p == pytest.approx(expected, rel=1e-6)  # One test: nothing to correct.

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            (
                {},
                "better than no distillation (+5.0 ± 0.2); "
                "equivalent to its control relabelled within 1 point (+0.0 ± 0.4)",
            ),
            (
                {"relabelled": [60.0, 61.0, 62.2], "mismatched": [60.0, 61.0, 62.0]},
                "better than no distillation (+5.0 ± 0.2); "
                "better than its control relabelled (+24.9 ± 0.5)",
            ),
            (
                {"fd_cmkd": [70.0, 71.1, 71.9]},
                "worse than no distillation (-10.0 ± 0.2); "
                "worse than its control relabelled (-15.0 ± 0.4)",
            ),
            (
                {"fd_cmkd": [80.0, 88.0, 90.0]},
                "not distinguishable from no distillation (+5.0 ± 10.8); "
                "not distinguishable from its control relabelled (+0.0 ± 10.6)",
            ),
            (
                {"fd_cmkd": [80.5, 81.5, 82.51], "relabelled": [], "mismatched": [1.0]},
                "better than no distillation (+0.5 ± 0.0), though by less than 1 point",
            ),
        ],
        ids=["good", "better", "worse", "wide", "small"],
    )
    def test_verdicts_say_what_the_intervals_say(self, values, says, toy, tmp_path):
        fill(tmp_path, GOOD | values)
        found = study.analyse(toy, tmp_path)
        assert study.verdict(found, "fd_cmkd") == says
        assert study.verdict(found, "none") == "the baseline"

    def test_a_verdict_rests_on_the_mean_of_the_directions(self, toy, tmp_path):
        for seed, gain in enumerate((1.0, 2.0, 3.0)):
            put(tmp_path, spec.Cell("none", seed), dict.fromkeys(DIRECTIONS, 0.8))
            both = {DIRECTIONS[0]: 0.8 + gain / 100, DIRECTIONS[1]: 0.8 + (4 - gain) / 100}
            put(tmp_path, spec.Cell("fd_cmkd", seed), both)
        found = study.analyse(toy, tmp_path)
        assert list(found.findings) == [*DIRECTIONS, "mean"]
        assert found.findings["mean"]["fd_cmkd"].baseline.comparison.gain.mean == pytest.approx(2)
        assert study.verdict(found, "fd_cmkd") == "better than no distillation (+2.0 ± 0.0)"

    def test_an_unfinished_arm_is_compared_over_common_seeds_and_says_so(self, toy, tmp_path):
        fill(tmp_path, {"none": GOOD["none"], "fd_cmkd": [85.0, 86.0], "relabelled": [80.0]})
        found = study.analyse(toy, tmp_path)
        assert found.findings[DIRECTIONS[0]]["fd_cmkd"].baseline.comparison.seeds == 2
        assert study.verdict(found, "fd_cmkd").endswith("; only 2 of 3 seeds finished")
        assert study.verdict(found, "relabelled") == "not judged: 1 of 3 seeds finished"
        assert study.verdict(found, "mismatched") == "not judged: 0 of 3 seeds finished"

    def test_the_learning_rate_is_chosen_on_validation_whatever_the_test_split_says(
        self, file, tmp_path
    ):
        found = changed(file, "seeds = 3", "seeds = 2\nlearning_rates = [0.03, 0.1, 0.3]")
        for rate, val, test, seeds in ((0.03, 0.7, 0.6, 2), (0.1, 0.6, 0.9, 2), (0.3, 0.9, 0.9, 1)):
            for seed in range(seeds):
                cell = spec.Cell("none", seed, rate)
                put(tmp_path, cell, {DIRECTIONS[0]: test}, val=val)
        result = study.analyse(found, tmp_path)
        assert result.chosen["none"] == 0.03  # 0.3 is better, but not for every seed.
        assert result.findings[DIRECTIONS[0]]["none"].test == {0: 60.0, 1: 60.0}

    def test_a_run_selected_on_the_test_split_counts_by_its_last_step(self, toy, tmp_path):
        fill(tmp_path, {"none": GOOD["none"]})
        fill(
            tmp_path, {"fd_cmkd": GOOD["fd_cmkd"]}, test_rows=[(0.5, 0.9), (0.8, 0.95), (0.7, 0.1)]
        )
        found = study.analyse(toy, tmp_path)
        finding = found.findings[DIRECTIONS[0]]["fd_cmkd"]
        assert list(finding.test.values()) == pytest.approx([75.0, 76.1, 76.9])
        assert list(finding.optimistic.values()) == pytest.approx([95.0] * 3)
        assert found.findings[DIRECTIONS[0]]["none"].optimistic == {}
        assert "best test epoch and head" in tables.as_markdown(found)


class TestOutputs:
    @pytest.fixture
    def found(self, toy, tmp_path):
        fill(tmp_path, GOOD | {"mismatched": []})
        work._record(spec.Cell("mismatched", 0), tmp_path, "it was <told> to")
        return study.analyse(toy, tmp_path)

    def test_csv_has_a_row_an_arm_direction_and_seed_also_of_what_is_missing(self, found, tmp_path):
        rows = list(csv.DictReader(io.StringIO(tables.as_csv(found, tmp_path))))
        assert len(rows) == 4 * 1 * 3
        by = {(row["arm"], row["seed"]): row for row in rows}
        assert float(by["fd_cmkd", "1"]["test"]) == pytest.approx(86.1)
        assert float(by["fd_cmkd", "1"]["last"]) == pytest.approx(76.1)
        assert by["mismatched", "0"]["status"] == "failed"
        assert by["mismatched", "1"]["status"] == "missing"

    def test_json_holds_cells_statistics_and_verdicts_without_nan(self, found, tmp_path):
        text = json.dumps(tables.as_json(found, tmp_path), allow_nan=False)
        tree = json.loads(text)
        assert len(tree["cells"]) == 12
        assert tree["statistics"][DIRECTIONS[0]]["fd_cmkd"]["against_baseline"]["arm"] == "none"
        assert set(tree["verdicts"]) == set(found.study.arms)

    def test_markdown_leaves_out_a_column_that_says_nothing(self, found):
        text = tables.as_markdown(found)
        assert "| no distillation | 3 | 81.0 ± 2.5 |" in text
        assert "optimistic" not in text
        assert "mismatched, seed 0: it was <told> to" in text

    def test_the_page_fetches_nothing_and_describes_every_figure(self, found, tmp_path):
        make_run(tmp_path / "other")
        source = tmp_path / spec.teacher_cell(found.study, 0).folder
        for name in ("teachers", "results.json", "environment.json"):
            target = source / name
            if target.is_file():
                target.unlink()
            (tmp_path / "other" / name).rename(target)
        text = page.render(found, tmp_path)
        tags = Tags(text)
        assert not {"script", "link", "iframe"} & {tag for tag, _ in tags.found}
        assert all(a.get("src", "data:").startswith("data:") for _, a in tags.found)
        images = [attributes for tag, attributes in tags.found if tag == "img"]
        assert len(images) == 4  # Gains, seeds, balance, similarity.
        assert all(len(image["alt"]) > 20 for image in images)
        assert "better than no distillation (+5.0 ± 0.2)" in tags.text
        assert "it was <told> to" in tags.text
        assert "teacher audio and teacher image" in images[-1]["alt"]

    @pytest.mark.usefixtures("undrawn")
    def test_a_study_without_a_finished_cell_has_a_page_that_says_so(self, toy, tmp_path):
        study.write(study.analyse(toy, tmp_path), tmp_path)
        text = Tags((tmp_path / "study.html").read_text(encoding="utf-8")).text
        assert "No cell has finished yet" in text
        assert "No band similarity of the teachers: no seed has finished" in text

    @pytest.fixture
    def undrawn(self, monkeypatch):
        monkeypatch.setattr(style, "data_uri", lambda figure: "data:,")

    def test_shares_of_the_loss_are_weighted_values_and_gradient_norms(self, found, tmp_path):
        shares = page._shares(found, "fd_cmkd", tmp_path)
        np.testing.assert_allclose(shares.steps, [10, 20])
        np.testing.assert_allclose(shares.values["low"], 0.5)  # 10 * 0.1 beside 1 * 1.
        np.testing.assert_allclose(shares.gradients["low"], 0.25)
        assert page._shares(found, "none", tmp_path) is None
