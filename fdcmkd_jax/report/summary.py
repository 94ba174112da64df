"""The sentences and tables of the report."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fdcmkd_jax.report.run import Model, Run

MISSING = "n/a"

OPEN_CLASSES = 12
"""Maximum number of classes for which the table by class starts unfolded."""


def percent(share: float) -> str:
    """Formats a share of 1 in percent with one decimal.

    Examples:
        >>> percent(0.8695), percent(math.nan)
        ('87.0 %', 'n/a')
    """
    return MISSING if math.isnan(share) else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """Formats a difference of two shares in percentage points, with its sign.

    Examples:
        >>> points(-0.051)
        '-5.1 points'
    """
    return f"{100 * share:+.1f} points"


def whole(number: float, unit: str = "") -> str:
    """Formats a number without decimals, with thousands separators and its unit.

    Examples:
        >>> whole(1234.5, " s")
        '1,234 s'
    """
    return MISSING if math.isnan(number) else f"{number:,.0f}{unit}"


def headline(run: Run) -> list[str]:
    """Summarizes each student in a sentence: its score, and that of its modality alone."""
    if not run.students:
        return [
            f"The {model.modality} model, trained alone, reaches "
            f"{percent(run.score(model, 'test'))} {run.metrics.label} on the test split."
            for model in run.teachers.values()
        ]
    return [_student_sentence(run, student) for student in run.students]


def _student_sentence(run: Run, student: Model) -> str:
    score = run.score(student, "test")
    training = f"taught by {student.teacher}" if run.distils else "trained without a teacher"
    if run.distils and run.pairing != "true":
        training += f" on {run.pairing} pairs (a control)"
    sentence = (
        f"The {student.modality} student {training} reaches {percent(score)} {run.metrics.label} "
        "on the test split"
    )
    alone = run.alone(student)
    if alone is None:
        return f"{sentence}; this run has no {student.modality} model trained alone."
    reference = run.score(alone, "test")
    role = (
        ", the other direction's teacher,"
        if any(sibling.teacher == student.modality for sibling in run.students)
        else ""
    )
    return (
        f"{sentence}; the {student.modality} model trained alone{role} reaches "
        f"{percent(reference)} ({points(score - reference)})."
    )


def caveats(run: Run) -> list[str]:
    """Lists the limits of the numbers."""
    result = [
        f"One run is one seed (here {run.seed}), so its numbers have no interval. Comparisons need "
        "several seeds.",
        "A teacher is also the reference without distillation of its modality: it was trained on "
        "labels alone.",
        "If pairs share labels, part of any gain is regularization. Only controls (no teacher, "
        "shuffled or mismatched pairs, a relabelled or random teacher) separate it from the "
        "knowledge that the teacher transfers.",
    ]
    if any(model.select_split == "test" for model in run.models):
        result.append("Steps were selected on the test split, so test results are optimistic.")
    labelled = run.config.get("pairing", {}).get("labelled_per_class")
    if labelled:
        result.append(
            f"Students were trained with the labels of only {labelled} training pairs per class. A "
            "teacher trained with more labels is not a fair reference for them."
        )
    return result


class Row(NamedTuple):
    """A row of the results table, as text; ``color`` is empty for a head of a model."""

    name: str
    color: str
    val: str
    test: str
    last: str = ""
    step: str = ""
    selection: str = ""
    seconds: str = ""


def results(run: Run, colors: Mapping[str, str]) -> list[Row]:
    """Makes the results table: students, then teachers, each followed by its band heads.

    Args:
        run: A finished run.
        colors: Colors of the models, by label.

    Returns:
        The rows.
    """
    rows = []
    for model in (*run.students, *run.teachers.values()):
        head = model.entry.get("selected_head", "main")
        rows.append(
            Row(
                name=model.label if head == "main" else f"{model.label}, head {head}",
                color=colors[model.label],
                val=percent(run.score(model, "val")),
                test=percent(run.score(model, "test")),
                last=percent(run.score(model, "last", "test")),
                step=whole(model.value("selected_step")),
                selection=str(model.entry.get("selection", MISSING)),
                seconds="loaded" if model.loaded else whole(model.value("seconds"), " s"),
            )
        )
        for head in model.entry.get("heads", {}):
            val = percent(run.score(model, "heads", head, "val"))
            test = percent(run.score(model, "heads", head, "test"))
            rows.append(Row(name=head, color="", val=val, test=test))
    return rows


class Table(NamedTuple):
    """A table of percentages, as text: the heads of its columns, and its rows by name."""

    heads: list[str]
    rows: list[tuple[str, list[str]]]


def further_metrics(run: Run) -> Table | None:
    """Makes the table of all metrics on the test split; None if there is only the primary one."""
    models = (*run.students, *run.teachers.values())
    names = [
        name for name in run.metrics.labels if any(name in m.entry.get("test", {}) for m in models)
    ]
    if len(names) < 2:
        return None
    rows = [(m.label, [percent(m.value("test", name)) for name in names]) for m in models]
    return Table([run.metrics.labels[name] for name in names], rows)


class ClassTable(NamedTuple):
    """Metrics of each class, in columns grouped by model.

    Attributes:
        models: Labels of the models.
        heads: Names of the metrics, the same for every model.
        rows: By class: a list of numbers in percent for each model.
    """

    models: list[str]
    heads: list[str]
    rows: list[tuple[str, list[list[str]]]]


def class_metrics(models: Iterable[Model]) -> dict[str, Mapping[str, list[float]]]:
    """Returns ``{model: {metric: [K shares]}}`` on the test split, of the models that have them."""
    return {model.label: model.entry["by_class"] for model in models if model.entry.get("by_class")}


def by_class(run: Run) -> ClassTable | None:
    """Makes the table of each class's metrics on the test split; None if no model has them."""
    tables = class_metrics((*run.students, *run.teachers.values()))
    if not tables:
        return None
    names = list(next(iter(tables.values())))
    rows = [
        (name, [[f"{100 * table[m][row]:.1f}" for m in names] for table in tables.values()])
        for row, name in enumerate(run.class_names)
    ]
    return ClassTable(list(tables), [run.metrics.labels.get(m, m) for m in names], rows)


def settings(tree: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Lists a configuration by section, with nested keys joined by dots.

    Examples:
        >>> settings({"seed": 0, "method": {"name": "fd_cmkd", "cutoff": 0.5}})
        [('seed', [('', '0')]), ('method', [('name', 'fd_cmkd'), ('cutoff', '0.5')])]
    """
    return [(section, list(_flatten(value).items())) for section, value in tree.items()]


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(value, Mapping):
        bare = isinstance(value, str) and value
        return {prefix: value if bare else json.dumps(value, ensure_ascii=False)}
    leaves: dict[str, str] = {}
    for key, child in value.items():
        leaves |= _flatten(child, f"{prefix}.{key}" if prefix else key)
    return leaves
