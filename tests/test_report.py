"""The report: what it says of a small made-up run, and what it says when parts are missing."""

import html.parser
import json
import pathlib
import shutil

import numpy as np
import pytest

from fdcmkd_jax import report
from fdcmkd_jax.report import __main__ as command_line
from fdcmkd_jax.report import curves, embedding, matching, similarity, style, summary
from fdcmkd_jax.report.run import Examples, Model, Run

TERMS = ("task", "low", "high")
HEADS = ("align_low", "align_high")
CLASSES = ("zero", "one", "two")
PER_CLASS = 6
STEPS = range(10, 60, 10)


def make_run(
    workdir: pathlib.Path,
    *,
    modalities=("audio", "image"),
    directions=("audio->image", "image->audio"),
    class_names=CLASSES,
    widths=None,
    config=None,
) -> pathlib.Path:
    """Leaves in ``workdir`` what a finished run leaves; accuracies are 0.5 alone, 0.75 taught."""
    random = np.random.RandomState(0)
    widths = widths or {}
    teachers = {
        name: make_model(
            workdir / "teachers" / name, random, class_names, widths.get(name, 8), ("task",), 0.5
        )
        for name in modalities
    }
    students = {}
    for direction in directions:
        teacher, modality = direction.split("->")
        folder = workdir / "students" / f"{teacher}-to-{modality}"
        width = widths.get(modality, 8)
        students[direction] = make_model(folder, random, class_names, width, TERMS, 0.75)
    results = {
        "seed": 3,
        "class_names": list(class_names),
        "teachers": teachers,
        "students": students,
    }
    defaults = {
        "seed": 3,
        "data": {"name": "toy"},
        "method": {"name": "fd_cmkd", "cutoff": 0.5},
        "weights": {"task": 1.0, "low": 10.0, "high": 10.0},
    }
    write_json(workdir / "results.json", results)
    write_json(workdir / "config.json", defaults | (config or {}))
    write_json(
        workdir / "environment.json",
        {
            "versions": {"jax": "1.2.3"},
            "devices": ["cpu:0"],
            "command": "python train.py <workdir>",
        },
    )
    return workdir


def make_model(folder, random, class_names, width, terms, accuracy):
    folder.mkdir(parents=True)
    rows = []
    for step in STEPS:
        values = dict.fromkeys(terms, 1.0 / step)
        heads = {head: {"loss": 1.0, "accuracy": 0.25} for head in HEADS if len(terms) > 1}
        common = {"step": step, "epoch": step / 10, "loss": 1.0, "accuracy": accuracy}
        train = {"split": "train", "learning_rate": 0.1, "terms": values, "gradient_norms": values}
        rows += [common | train, common | {"split": "val", "heads": heads}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = np.repeat(np.arange(len(class_names)), PER_CLASS).astype(np.int32)
    np.savez(
        folder / "test.npz",
        features=random.randn(len(labels), width).astype(np.float32),
        labels=labels,
        predictions=labels,
        id=np.arange(len(labels), dtype=np.int32),
    )
    split = {"accuracy": accuracy, "loss": 1.0}
    return {
        "selected_step": 20,
        "selection": "highest val accuracy",
        "val": split,
        "test": split,
        "last": {"step": 50, "test": {"accuracy": 0.625, "loss": 1.0}},
        "heads": {
            head: {"val": {"accuracy": 0.25, "loss": 1.0}, "test": {"accuracy": 0.375, "loss": 1.0}}
            for head in HEADS
            if len(terms) > 1
        },
        "confusion": (PER_CLASS * np.eye(len(class_names), dtype=int)).tolist(),
        "seconds": 12.3,
    }


def write_json(path, tree):
    path.write_text(json.dumps(tree))


def written(workdir) -> str:
    return report.write(workdir).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run in both directions with its report; tests must not change it."""
    workdir = make_run(tmp_path_factory.mktemp("finished"))
    report.write(workdir)
    return workdir


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves figures empty: rendering them takes seconds, and most tests read the words."""
    monkeypatch.setattr(style, "data_uri", lambda figure: "data:,")


@pytest.fixture(scope="module")
def page(finished):
    return (finished / "report.html").read_text(encoding="utf-8")


class Tags(html.parser.HTMLParser):
    """Every start tag with its attributes; fails where tags do not nest."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.found, self.text, self._open = [], "", []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


class TestSimilarity:
    # With D = 4 and cutoff 1/2, bin 1 is low and bin 2 is high.
    LOW = np.array([[1.0, 0.0, -1.0, 0.0]], np.float32)
    HIGH = np.array([[1.0, -1.0, 1.0, -1.0]], np.float32)
    MEAN = np.ones((1, 4), np.float32)

    def true_pairs(self, first, second):
        result = similarity.band_similarity(first, second)
        return [result[band]["true pairs"] for band in similarity.BANDS]

    def test_identical_features_agree_in_every_band(self):
        x = np.random.RandomState(0).randn(20, 16).astype(np.float32)
        np.testing.assert_allclose(self.true_pairs(x, x), 1, rtol=1e-6)

    def test_bands_are_compared_apart(self):
        # raw: (2 - 4) / 6; the low bands are equal, the high ones opposite, the mean is zero.
        actual = self.true_pairs(self.LOW + self.HIGH, self.LOW - self.HIGH)
        np.testing.assert_allclose(actual, [-1 / 3, 1, 1, -1], atol=1e-6)

    def test_the_mean_counts_only_with_dc(self):
        # raw and low with DC: (4 - 2) / 6; without it the low bands are opposite; no high band.
        actual = self.true_pairs(self.MEAN + self.LOW, self.MEAN - self.LOW)
        np.testing.assert_allclose(actual, [1 / 3, 1 / 3, -1, 0], atol=1e-6)

    def test_low_and_high_are_orthogonal(self):
        np.testing.assert_allclose(self.true_pairs(self.LOW, self.HIGH), 0, atol=1e-6)

    def test_what_examples_share_survives_a_mismatch(self):
        shared = np.tile(np.random.RandomState(0).randn(1, 8), (5, 1)).astype(np.float32)
        result = similarity.band_similarity(shared, shared)
        np.testing.assert_allclose(result["high"]["mismatched pairs"], 1, rtol=1e-6)
        assert result["high"]["channels permuted"] < 0.99

    def test_the_mean_survives_a_permutation_of_channels(self):
        constant = np.array([[1.0] * 8, [2.0] * 8], np.float32)
        row = similarity.band_similarity(constant, constant)["low with DC"]
        np.testing.assert_allclose(list(row.values()), 1, rtol=1e-6)

    @pytest.mark.parametrize("count", [2, 3, 10, 101])
    def test_a_mismatch_is_a_permutation_without_fixed_points(self, count):
        partner = similarity.mismatch(count)
        assert sorted(partner) == list(range(count))
        assert not np.any(partner == np.arange(count))

    def test_the_same_seed_gives_the_same_similarity(self):
        x, y = np.random.RandomState(0).randn(2, 10, 8).astype(np.float32)
        assert similarity.band_similarity(x, y) == similarity.band_similarity(x, y)

    @pytest.mark.usefixtures("without_type_checks")
    def test_features_of_two_shapes_are_refused(self):
        with pytest.raises(ValueError, match=r"one shape, got \(1, 4\) and \(1, 8\)"):
            similarity.band_similarity(np.ones((1, 4)), np.ones((1, 8)))


def examples(ids, width=4):
    ids = np.asarray(ids, np.int32)
    return Examples(np.tile(ids[:, None], width).astype(np.float32), ids % 3, ids)


def model(test, modality="audio"):
    return Model(modality=modality, teacher=None, entry={}, train=[], held_out=[], test=test)


class TestMatching:
    def test_examples_are_paired_by_id(self):
        first, second = matching.matched(model(examples([4, 2, 7])), model(examples([7, 9, 4])))
        np.testing.assert_array_equal(first.id, [4, 7])
        np.testing.assert_array_equal(second.id, [4, 7])
        np.testing.assert_array_equal(first.features, second.features)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (None, "teacher image left no test.npz"),
            (examples([1], width=8), "teacher audio: 4, teacher image: 8"),
            (examples([2]), "share no example"),
        ],
    )
    def test_what_cannot_be_compared_says_why(self, other, message):
        with pytest.raises(matching.IncomparableError, match=message):
            matching.matched(model(examples([1])), model(other, "image"))


class TestEmbedding:
    def test_thinning_spreads_over_all_examples(self):
        np.testing.assert_array_equal(embedding.evenly(3, 500), [0, 1, 2])
        kept = embedding.evenly(1001, 500)
        assert len(kept) == 500
        assert kept[0] == 0
        assert set(np.diff(kept)) <= {2, 3}

    def test_standardized_channels_have_mean_zero_and_deviation_one(self):
        x = embedding.standardize(np.array([[1.0, 5.0], [3.0, 5.0]]))
        np.testing.assert_allclose(x, [[-1, 0], [1, 0]])

    def test_two_models_share_a_map(self):
        split = examples(range(12))
        result = embedding.embed(split, split)
        assert result.teacher.shape == result.student.shape == (12, 2)
        np.testing.assert_array_equal(result.labels, split.labels)


class TestCurves:
    def test_long_logs_are_averaged(self):
        count = 2 * curves.POINTS
        rows = [{"step": step, "terms": {"low": float(step % 2)}} for step in range(count)]
        steps, values = curves.series(rows, "terms", "low")
        np.testing.assert_allclose(steps, np.arange(curves.POINTS) * 2 + 0.5)
        np.testing.assert_allclose(values, 0.5)

    def test_no_rows_give_an_empty_curve(self):
        assert [len(axis) for axis in curves.series([], "loss")] == [0, 0]

    def test_the_usual_terms_keep_their_colour_whatever_else_is_logged(self):
        def colours(*terms):
            rows = [{"step": 1, "terms": dict.fromkeys(terms, 1.0)}]
            trained = Model("audio", None, {}, rows, [], None)
            return style.palette(Run({}, {}, 0, [], {"audio": trained}, [])).terms

        few, many = colours("low", "task"), colours("divergence", "align", "low", "task")
        assert list(few) == ["task", "low"]
        assert few.items() <= many.items()
        assert len(set(many.values())) == 4


class TestPage:
    def test_nothing_is_fetched_or_executed(self, page):
        for tag, attributes in Tags(page).found:
            assert tag not in ("script", "link", "iframe", "object", "form")
            assert "href" not in attributes
            assert attributes.get("src", "data:").startswith("data:")
            assert not any(name.startswith("on") for name in attributes)
        assert "@import" not in page
        assert "url(" not in page

    def test_every_figure_has_alternative_text_and_a_caption(self, page):
        tags = Tags(page).found
        images = [attributes for tag, attributes in tags if tag == "img"]
        assert len(images) == 4 + 1 + 1 + 1 + 1  # Curves of four models, then one a section.
        assert all(len(image["alt"]) > 20 for image in images)
        assert [tag for tag, _ in tags].count("figure") == 5
        assert [tag for tag, _ in tags].count("figcaption") == 5

    def test_every_model_and_head_is_named(self, page):
        text = Tags(page).text
        for name in ("teacher audio", "teacher image"):
            assert name in text
        for name in ("student audio → image", "student image → audio"):
            assert name in text
        assert all(text.count(head) == 2 for head in HEADS)

    def test_the_summary_compares_with_the_model_trained_alone(self, page):
        assert (
            "The image student taught by audio reaches 75.0 % on the test split; the image model "
            "trained alone, the other direction's teacher, reaches 50.0 % (+25.0 points)."
        ) in Tags(page).text

    def test_numbers_carry_units_and_one_decimal(self, page):
        text = Tags(page).text
        assert "62.5 %" in text  # The last step.
        assert "37.5 %" in text  # A head on the test split.
        assert "12 s" in text

    def test_what_one_run_cannot_say_is_said(self, page):
        text = Tags(page).text
        assert "no interval" in text
        assert "regularisation" in text

    def test_configuration_and_environment_are_shown(self, page):
        text = " ".join(Tags(page).text.split())
        for shown in ("cutoff 0.5", "jax 1.2.3", "cpu:0", "python train.py <workdir>"):
            assert shown in text

    def test_writing_again_gives_the_same_page(self, finished, page):
        assert written(finished) == page


class TestPartsMissing:
    def test_a_teacher_without_curves(self, tmp_path):
        make_run(tmp_path, directions=("image->audio",))
        (tmp_path / "teachers" / "audio" / "metrics.jsonl").unlink()
        text = Tags(written(tmp_path)).text
        assert "No curves of teacher audio" in text
        assert "No curves of teacher image" not in text

    @pytest.mark.usefixtures("undrawn")
    def test_a_teacher_without_a_folder(self, tmp_path):
        make_run(tmp_path)
        shutil.rmtree(tmp_path / "teachers" / "audio")
        text = Tags(written(tmp_path)).text
        assert "No band similarity" in text
        assert "No map of student audio → image: teacher audio left no test.npz." in text

    @pytest.mark.usefixtures("undrawn")
    def test_a_teacher_of_an_earlier_run(self, tmp_path):
        make_run(tmp_path)
        (tmp_path / "teachers" / "audio" / "metrics.jsonl").unlink()
        results = json.loads((tmp_path / "results.json").read_text())
        results["teachers"]["audio"]["loaded_from"] = "elsewhere"
        write_json(tmp_path / "results.json", results)
        text = Tags(written(tmp_path)).text
        assert "No curves of teacher audio: it was loaded from an earlier run." in text

    @pytest.mark.usefixtures("undrawn")
    def test_teachers_of_different_width(self, tmp_path):
        make_run(tmp_path, widths={"audio": 8, "image": 12})
        text = Tags(written(tmp_path)).text
        assert "teacher audio: 8, teacher image: 12" in text
        assert "channels permuted" not in text

    @pytest.mark.usefixtures("undrawn")
    def test_examples_in_another_order_give_the_same_similarity(self, finished, page, tmp_path):
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "teachers" / "image"
        with np.load(folder / "test.npz") as old:
            reverse = {key: old[key][::-1] for key in old.files}
        np.savez(folder / "test.npz", **reverse)
        assert Tags(written(tmp_path)).text == Tags(page).text

    @pytest.mark.usefixtures("undrawn")
    def test_one_direction_with_its_teacher_only(self, tmp_path):
        make_run(tmp_path, modalities=("audio",), directions=("audio->image",))
        text = Tags(written(tmp_path)).text
        assert "this run has no image model trained alone" in text
        assert "compares two teachers" in text

    @pytest.mark.usefixtures("undrawn")
    def test_three_modalities(self, tmp_path):
        make_run(tmp_path, modalities=("audio", "image", "text"), directions=("text->audio",))
        text = Tags(written(tmp_path)).text
        for pair in ("audio and teacher image", "audio and teacher text", "image and teacher text"):
            assert f"teacher {pair}, 18 examples" in text

    @pytest.mark.usefixtures("undrawn")
    def test_teachers_alone(self, tmp_path):
        make_run(tmp_path, directions=())
        text = Tags(written(tmp_path)).text
        assert "The audio model, trained alone, reaches 50.0 %" in text

    def test_more_classes_than_colours_or_labels(self, tmp_path):
        names = [f"class {index}" for index in range(31)]
        make_run(tmp_path, class_names=names, modalities=("audio",), directions=("audio->image",))
        text = Tags(written(tmp_path)).text
        assert "31 classes" in text
        assert "class 30" not in text

    def test_names_are_text_and_never_markup(self, tmp_path):
        names = ("<script>alert(1)</script>", "$\\frac$", "_hidden & \"quoted'")
        config = {"data": {"name": "<script>", "note": "<img src=x onerror=alert(1)>"}}
        make_run(tmp_path, class_names=names, config=config, directions=("audio->image",))
        html_text = written(tmp_path)
        assert "<script" not in html_text
        assert "onerror=alert(1)&gt;" in html_text
        assert names[0] in Tags(html_text).text


class TestSummary:
    """The words, for runs that differ from the usual one."""

    @staticmethod
    def student(**config):
        entry = {"test": {"accuracy": 0.75}}
        taught = Model("image", "audio", entry, [], [], None)
        return Run({"weights": {"task": 1, "low": 10}} | config, {}, 0, [], {}, [taught])

    def test_a_student_is_taught_by_its_teacher(self):
        assert "student taught by audio reaches" in summary.headline(self.student())[0]

    @pytest.mark.parametrize("weights", [{"task": 1}, {"task": 1, "auxiliary": 1, "low": 0}])
    def test_without_a_weighted_distillation_term_nobody_teaches(self, weights):
        sentence = summary.headline(self.student(weights=weights))[0]
        assert "student trained without a teacher reaches" in sentence

    def test_broken_pairs_are_named_a_control(self):
        sentence = summary.headline(self.student(data={"pairing": "mismatched"}))[0]
        assert "taught by audio on mismatched pairs (a control) reaches" in sentence

    def test_hidden_labels_are_a_caveat(self):
        partly = self.student(data={"labelled_per_class": 20})
        assert "20 training pairs a class" in summary.caveats(partly)[-1]
        whole = self.student(data={"labelled_per_class": 0})
        assert summary.caveats(whole) == summary.caveats(self.student())

    @pytest.mark.usefixtures("undrawn")
    def test_selection_on_the_test_split_is_a_caveat(self, tmp_path):
        make_run(tmp_path, config={"evaluate": {"select_split": "test"}})
        assert "test accuracies are optimistic" in Tags(written(tmp_path)).text

    def test_a_head_that_decides_is_named(self):
        entry = {"selected_head": "auxiliary_low"}
        trained = Model("audio", None, entry, [], [], None)
        rows = summary.results(
            Run({}, {}, 0, [], {"audio": trained}, []), {"teacher audio": "#000"}
        )
        assert rows[0].name == "teacher audio, head auxiliary_low"

    def test_missing_numbers_say_so(self):
        assert summary.percent(float("nan")) == summary.whole(float("nan")) == "n/a"


class TestCommandLine:
    @pytest.mark.usefixtures("undrawn")
    def test_it_prints_the_path_of_the_page(self, tmp_path, capsys):
        make_run(tmp_path)
        assert command_line.main([str(tmp_path)]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")

    def assert_one_line(self, capsys, workdir, message):
        assert command_line.main([str(workdir)]) == 2
        out, error = capsys.readouterr()
        assert not out
        assert error.count("\n") == 1
        assert message in error

    def test_a_missing_workdir(self, tmp_path, capsys):
        self.assert_one_line(capsys, tmp_path / "nowhere", "nowhere is not a folder")

    def test_an_unfinished_run(self, tmp_path, capsys):
        self.assert_one_line(capsys, tmp_path, "has no results.json")
        assert not (tmp_path / "report.html").exists()

    def test_results_that_are_not_json(self, tmp_path, capsys):
        (tmp_path / "results.json").write_text("{")
        self.assert_one_line(capsys, tmp_path, "is not JSON")

    def test_results_of_something_else(self, tmp_path, capsys):
        make_run(tmp_path)
        write_json(tmp_path / "results.json", {"seed": 0})
        self.assert_one_line(capsys, tmp_path, "lacks the key 'class_names'")

    def test_help_teaches(self, capsys):
        with pytest.raises(SystemExit) as stop:
            command_line.main(["--help"])
        assert stop.value.code == 0
        assert "example:" in capsys.readouterr().out
