"""Renders the page of a run; sections say what is left out and why."""

import dataclasses
import importlib.resources
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from fdcmkd_jax.report import class_maps, curves, embedding, figures, style, summary
from fdcmkd_jax.report.matching import IncomparableError, matched
from fdcmkd_jax.report.run import Model, Run, read
from fdcmkd_jax.report.similarity import PAIRINGS, band_similarity

FILE_NAME = "report.html"


class Image(NamedTuple):
    """An image source and its alternative text."""

    source: str
    alt: str


@dataclasses.dataclass
class Section:
    """The images of a section, and one sentence for each omission."""

    images: list[Image] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)

    def add(self, figure: Figure, alt: str) -> None:
        """Appends a figure."""
        self.images.append(Image(style.data_uri(figure), alt))


_FILES = importlib.resources.files(__package__)


def fill(template: str, **values: Any) -> str:
    """Fills in a Jinja template; text is escaped.

    Args:
        template: The template's text; it may import macros from ``show.html`` and use the variable
            ``style_sheet``.
        **values: Values of the template's variables; a missing one is an error.

    Returns:
        The document.
    """
    show = {"show.html": _FILES.joinpath("show.html").read_text("utf-8")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(show),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style_sheet = _FILES.joinpath("page.css").read_text("utf-8")
    return environment.from_string(template).render(style_sheet=style_sheet, **values)


def write(workdir: pathlib.Path) -> pathlib.Path:
    """Writes the report of the finished run in ``workdir`` and replaces an older one.

    Args:
        workdir: A run's folder with config.json, environment.json, results.json and one folder per
            model. If a model's log or features are missing, the page leaves out what needs them and
            says so.

    Returns:
        The path of the page: its figures and styles are inline, it has no script and fetches
        nothing.

    Raises:
        RunError: If ``workdir`` does not hold a finished run.
    """
    path = workdir / FILE_NAME
    path.write_text(render(read(workdir)), encoding="utf-8")
    return path


def render(run: Run) -> str:
    """Renders the report as one HTML document that refers to nothing outside itself."""
    colors = style.palette(run)
    # The maps take as long as all other figures together, and mostly outside Python.
    with futures.ThreadPoolExecutor() as pool:
        maps, embedding_section = _start_maps(run, pool)
        similarity, similarity_tables = _similarity(run)
        sections = {
            "curves": _curves(run, colors),
            "balance": _balance(run, colors),
            "confusion": _confusion(run),
            "class_maps": _class_maps(run, colors),
        }
        _add_maps(embedding_section, maps, run.class_names)
    return fill(
        _FILES.joinpath("page.html").read_text("utf-8"),
        run=run,
        directions=_directions(run),
        headline=summary.headline(run),
        caveats=summary.caveats(run),
        results=summary.results(run, colors.models),
        further=summary.further_metrics(run),
        by_class=summary.by_class(run),
        **sections,
        similarity=similarity,
        similarity_tables=similarity_tables,
        pairings=PAIRINGS,
        cutoff=_cutoff(run),
        embedding=embedding_section,
        embedding_limit=embedding.LIMIT,
        named_classes=figures.NAMED_CLASSES,
        open_classes=summary.OPEN_CLASSES,
        weights=", ".join(f"{term} {weight:g}" for term, weight in run.weights.items()),
        settings=summary.settings(run.config),
        environment=summary.settings(run.environment),
    )


def _directions(run: Run) -> str:
    return ", ".join(f"{student.teacher} → {student.modality}" for student in run.students)


def _cutoff(run: Run) -> float:
    """Returns the method's cutoff; 0.5 for a method that splits no bands."""
    return float(run.config.get("method", {}).get("cutoff", 0.5))


def _curves(run: Run, colors: style.Palette) -> Section:
    section = Section()
    for model in run.models:
        if not (model.train or model.held_out):
            reason = (
                "it was loaded from an earlier run"
                if model.loaded
                else "its metrics.jsonl is missing or empty"
            )
            section.left_out.append(f"No curves of {model.label}: {reason}.")
            continue
        section.add(
            curves.learning_curves(model, run.alone(model), run.metrics, colors),
            f"Learning curves of {model.label}: losses by term and {run.metrics.label} over steps; "
            f"validation {run.metrics.label} at the selected step "
            f"{summary.whole(model.value('selected_step'))} is "
            f"{summary.percent(run.score(model, 'val'))}.",
        )
    return section


def _balance(run: Run, colors: style.Palette) -> Section:
    section = Section()
    models = curves.balanced(run.models)
    if models:
        names = ", ".join(model.label for model in models)
        section.add(
            curves.gradient_balance(models, colors),
            f"Gradient norm on the features by loss term over steps, for {names}.",
        )
    else:
        section.left_out.append("No model of this run logged gradient norms of several loss terms.")
    for model in run.models:
        terms = curves.not_measured(model, run.weights)
        if terms:
            section.left_out.append(
                f"{model.label}: the gradient norm of {', '.join(terms)} is not measured, because "
                "the term reads the student's feature maps."
            )
    return section


def _confusion(run: Run) -> Section:
    section = Section()
    columns: dict[str, list[Model]] = {}
    for model in run.models:
        if "confusion" in model.entry:
            columns.setdefault(model.modality, []).append(model)
        else:
            section.left_out.append(f"No confusion matrix of {model.label}: results.json has none.")
    if columns:
        names = ", ".join(model.label for column in columns.values() for model in column)
        section.add(
            figures.confusion_grid(list(columns.values()), run.class_names, run.metrics),
            f"Confusion matrices on the test split, one column per modality: {names}.",
        )
    return section


def _class_maps(run: Run, colors: style.Palette) -> Section:
    """Draws predictions of pixels; the section of a task without them is empty."""
    section = Section()
    for models in _side_by_side(run):
        names = ", ".join(model.label for model in models)
        section.add(
            class_maps.draw(models, run.class_names),
            f"Inputs, labels and predictions of a few test images, a column per model: {names}.",
        )
    tables = summary.class_metrics(model for model in run.models if model.maps is not None)
    for metric in next(iter(tables.values()), {}):
        title = run.metrics.labels.get(metric, metric)
        values = {label: table[metric] for label, table in tables.items()}
        section.add(
            class_maps.class_bars(values, title, run.class_names, colors.models),
            f"{title} of each class on the test split, a bar per model: {', '.join(values)}.",
        )
    return section


def _side_by_side(run: Run) -> list[list[Model]]:
    """Groups each student with its teacher and the model trained alone; teachers if there is none.

    Models without maps are left out.
    """
    groups = [[run.teacher_of(student), run.alone(student), student] for student in run.students]
    by_label = [
        {model.label: model for model in group if model is not None and model.maps is not None}
        for group in groups or [list(run.teachers.values())]
    ]
    return [list(models.values()) for models in by_label if models]


class SimilarityTable(NamedTuple):
    """Mean cosines by band and pairing over a number of examples."""

    title: str
    examples: int
    cosines: Mapping[str, Mapping[str, float]]


def _similarity(run: Run) -> tuple[Section, list[SimilarityTable]]:
    section, tables = Section(), []
    if len(run.teachers) < 2:
        section.left_out.append(
            "No band similarity: it compares two teachers, and this run has fewer."
        )
    for first, second in itertools.combinations(run.teachers.values(), 2):
        title = f"{first.label} and {second.label}"
        try:
            first_examples, second_examples = matched(first, second)
        except IncomparableError as reason:
            section.left_out.append(f"No band similarity of {title}: {reason}")
            continue
        cosines = band_similarity(
            first_examples.features, second_examples.features, cutoff=_cutoff(run)
        )
        tables.append(SimilarityTable(title, len(first_examples.id), cosines))
        values = "; ".join(f"{band} {row['true pairs']:.2f}" for band, row in cosines.items())
        section.add(
            figures.similarity_bars(cosines, title),
            f"Mean cosine of {title} by band, for true and broken pairs. True pairs: {values}.",
        )
    return section, tables


def _start_maps(
    run: Run, pool: futures.Executor
) -> tuple[dict[str, futures.Future[embedding.Embedding]], Section]:
    """Starts to compute the map of each student and its teacher; lists those left out."""
    section, maps = Section(), {}
    for student in run.students:
        teacher = run.teacher_of(student)
        if teacher is None:
            several = "+" in (student.teacher or "")
            reason = "it has several teachers" if several else "its teacher is not in this run"
            section.left_out.append(f"No map of {student.label}: {reason}.")
            continue
        try:
            title = f"{student.teacher} → {student.modality}"
            maps[title] = pool.submit(embedding.embed, *matched(teacher, student))
        except IncomparableError as reason:
            section.left_out.append(f"No map of {student.label}: {reason}")
    return maps, section


def _add_maps(
    section: Section,
    maps: Mapping[str, futures.Future[embedding.Embedding]],
    class_names: Sequence[str],
) -> None:
    """Draws the maps once they are computed."""
    if maps:
        finished = {title: future.result() for title, future in maps.items()}
        section.add(
            figures.embedding_maps(finished, class_names),
            f"t-SNE maps of test features, teacher and student together: {', '.join(maps)}.",
        )
