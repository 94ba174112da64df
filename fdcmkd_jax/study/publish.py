"""A finished study as a page of a repository's documentation: Markdown, figures, numbers."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from fdcmkd_jax.log import read_json
from fdcmkd_jax.study import figures, tables
from fdcmkd_jax.study.analysis import Analysis
from fdcmkd_jax.study.page import loss_shares
from fdcmkd_jax.study.spec import cells
from fdcmkd_jax.study.work import status

DPI = 100


def publish(analysis: Analysis, workdir: Path, folder: Path, name: str) -> Path:
    """Writes ``NAME.md``, ``NAME.csv`` and ``NAME-*.png``, which refer to nothing outside.

    Args:
        analysis: The study's numbers.
        workdir: The study's folder.
        folder: Where to write; made if missing.
        name: The study file's name without its ending.

    Returns:
        The Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[tuple[str, str, Figure]] = []
    if analysis.compared:
        baseline = analysis.study.arms[analysis.study.baseline].label
        about = f"Paired gains over {baseline} with 95 % intervals; the band is the margin."
        pictures.append(("gains", about, figures.forest(analysis)))
    if analysis.findings:
        about = "Test accuracy of every seed; one line a seed, a bar at each mean."
        pictures.append(("seeds", about, figures.seeds(analysis)))
    shares = loss_shares(analysis, workdir)
    if shares:
        about = (
            "Each weighted term's share of the loss (left) and of the gradient norms on the "
            "student's features (right)."
        )
        pictures.append(("balance", about, figures.balance(shares)))
    lines = [tables.as_markdown(analysis)]
    for kind, about, figure in pictures:
        figure.savefig(folder / f"{name}-{kind}.png", dpi=DPI, metadata={"Software": None})
        lines += [f"![{about}]({name}-{kind}.png)", "", f"*{about}*", ""]
    lines += ["## How it was made", "", *_origin(analysis, workdir, name)]
    (folder / f"{name}.csv").write_text(tables.as_csv(analysis, workdir), encoding="utf-8")
    page = folder / f"{name}.md"
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def _origin(analysis: Analysis, workdir: Path, name: str) -> list[str]:
    """The command, and what the finished cells say of where they ran."""
    study = analysis.study
    done = [cell for cell in cells(study) if status(cell, workdir) == "done"]
    found = [read_json(workdir / cell.folder / "environment.json") for cell in done]
    packages = sorted({package for each in found for package in each["versions"]})
    versions = (
        f"{package} {_listed(each['versions'].get(package, 'unknown') for each in found)}"
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
        f"Devices of a cell: {_listed(_devices(each['devices']) for each in found)}; "
        f"Python {_listed(each['python'] for each in found)}; {', '.join(versions)}; "
        f"revision {_listed(each['git_revision'] for each in found)}. "
        f"Every cell's numbers: [{name}.csv]({name}.csv).",
    ]


def _devices(names: list[str]) -> str:
    """How many of which; the platform's name is left out where the device has no other."""
    return f"{len(names)} {' '.join(dict.fromkeys(names[0].split()))}"


def _listed(values: Iterable[str]) -> str:
    """The different ones among the values."""
    return " and ".join(sorted(set(values)))
