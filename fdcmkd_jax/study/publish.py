"""Publishes a finished study as a page of documentation: Markdown, figures and numbers."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from fdcmkd_jax.study import figures, tables
from fdcmkd_jax.study.analysis import Analysis
from fdcmkd_jax.study.cell_config import cells
from fdcmkd_jax.study.scheduler import status
from fdcmkd_jax.study.shares import loss_shares
from fdcmkd_jax.training.log import read_json

DPI = 100


def publish(analysis: Analysis, workdir: Path, folder: Path, name: str) -> Path:
    """Writes ``NAME.md``, ``NAME.csv`` and ``NAME-*.png``, which refer to no other file.

    Args:
        analysis: The study's numbers.
        workdir: The study's folder.
        folder: The folder to write to; created if missing.
        name: Name of the study file without its suffix.

    Returns:
        The path of the Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [tables.as_markdown(analysis)]
    for kind, caption, figure in _pictures(analysis, workdir):
        figure.savefig(folder / f"{name}-{kind}.png", dpi=DPI, metadata={"Software": None})
        lines += [f"![{caption}]({name}-{kind}.png)", "", f"*{caption}*", ""]
    lines += ["## How to reproduce", "", *_origin(analysis, workdir, name)]
    (folder / f"{name}.csv").write_text(tables.as_csv(analysis, workdir), encoding="utf-8")
    page = folder / f"{name}.md"
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def _pictures(analysis: Analysis, workdir: Path) -> list[tuple[str, str, Figure]]:
    """Draws the figures; each comes with a short name and a caption."""
    pictures = []
    if analysis.compared:
        baseline = analysis.study.arms[analysis.study.baseline].label
        caption = (
            f"Paired gains over {baseline} with 95 % confidence intervals; the gray band is the "
            "equivalence margin."
        )
        pictures.append(("gains", caption, figures.forest(analysis)))
    if analysis.results:
        caption = (
            f"Test {analysis.metric} of every seed; a line joins one seed, a bar marks each mean."
        )
        pictures.append(("seeds", caption, figures.seeds(analysis)))
    by_label = loss_shares(analysis, workdir)
    if by_label:
        caption = (
            "Share of each weighted term in the loss (left) and in the gradient norms on the "
            "student's features (right)."
        )
        if any(shares.not_measured for shares in by_label.values()):
            caption += " Gradient norms of terms that read feature maps are not measured."
        pictures.append(("balance", caption, figures.balance(by_label)))
    return pictures


def _origin(analysis: Analysis, workdir: Path, name: str) -> list[str]:
    """Returns the command, and the environment in which the finished cells were run."""
    study = analysis.study
    done = [cell for cell in cells(study) if status(cell, workdir) == "done"]
    environments = [read_json(workdir / cell.folder / "environment.json") for cell in done]
    packages = sorted({package for env in environments for package in env["versions"]})
    versions = (
        f"{package} {_listed(env['versions'].get(package, 'unknown') for env in environments)}"
        for package in packages
        if package != "fdcmkd-jax"
    )
    return [
        "```sh",
        f"python -m fdcmkd_jax.study studies/{name}.toml --workdir=runs/{name} "
        f"--seeds={study.seeds}",
        "```",
        "",
        f"{len(done)} of {len(cells(study))} cells finished, of seeds 0 to {study.seeds - 1}. "
        f"Devices of a cell: {_listed(_devices(env['devices']) for env in environments)}; "
        f"Python {_listed(env['python'] for env in environments)}; {', '.join(versions)}; "
        f"revision {_listed(env['git_revision'] for env in environments)}. "
        f"Numbers of every cell: [{name}.csv]({name}.csv).",
    ]


def _devices(names: list[str]) -> str:
    """Returns the number and the name of the devices, without a repeated platform name."""
    return f"{len(names)} {' '.join(dict.fromkeys(names[0].split()))}"


def _listed(values: Iterable[str]) -> str:
    """Joins the distinct values."""
    return " and ".join(sorted(set(values)))
