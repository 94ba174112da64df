"""Writes the tables of docs/performance.md, under 20 minutes on 2 cores.

    make bench

Everything compared runs in turn on this machine, so the ratios are more reliable than the times.
Raw values go to docs/performance/.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PAGE = ROOT / "docs" / "performance.md"
FOLDER = ROOT / "docs" / "performance"
GROWTH = (
    "![Time and memory against examples, batch, classes, devices and terms]"
    "(performance/growth.svg)\n\nRaw values are in `docs/performance/growth.json`; "
    "`python benchmarks/growth.py docs/performance` measures them."
)
STEP = "python benchmarks/bench.py --only=steps"
PARTS = ("jobs", "profile", "start", "steps", "growth")


def main() -> None:
    """Measures what is asked for, and writes the tables and the raw values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=ROOT / "runs" / "bench")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of whole jobs")
    parser.add_argument("--epochs", type=int, default=100, help="epochs of each model of a job")
    parser.add_argument("--repeats", type=int, default=25, help="rounds of steps")
    parser.add_argument("--only", choices=PARTS, help="one part instead of all")
    arguments = parser.parse_args()
    workdir = arguments.workdir.absolute()
    shutil.rmtree(workdir, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = (arguments.only,) if arguments.only else PARTS
    for part in parts:
        if part == "growth":  # Before JAX starts here: its processes need the memory.
            script = str(ROOT / "benchmarks" / "growth.py")
            subprocess.run([sys.executable, script, str(FOLDER)], check=True)
            replace("growth", GROWTH)
        else:
            measure_part(part, workdir, arguments)
    from compare_pytorch import hardware

    replace("hardware", f"Measured on {hardware('cpu')}.")


def measure_part(part: str, workdir: Path, arguments: argparse.Namespace) -> None:
    """Measures one part, and writes its tables into the page."""
    import measure

    from fdcmkd_jax.training.log import write_json

    if part == "profile":
        profile = measure.profile(workdir, arguments.epochs)
        replace(part, measure.profile_table(profile))
        write_json(FOLDER / "profile.json", profile)
        return
    if part == "jobs":
        seconds, memory = measure.jobs(workdir, arguments.rounds, arguments.epochs)
        tables = {"jobs": seconds, "memory": memory}
    elif part == "start":
        tables = {"start": measure.start_up(workdir, 5)}
    else:
        from fdcmkd_jax.training.allocator import keep_freed_memory
        from fdcmkd_jax.training.cpu import compile_quickly

        keep_freed_memory()  # As training does.
        compile_quickly()
        tables = {
            "steps": measure.steps(measure.TINY, arguments.repeats, compiled=True, command=STEP),
            "large": measure.steps(measure.LARGE, 3, compiled=False, command=STEP),
        }
    for name, rows in tables.items():
        replace(name, measure.table(rows))
    write_json(FOLDER / f"{part}.json", measure.as_data(tables))


def replace(name: str, text: str) -> None:
    """Replaces the text between a pair of comments in the page."""
    page = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    pattern = re.escape(start) + ".*?" + re.escape(end)
    new, count = re.subn(pattern, lambda match: start + text + end, page, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{PAGE} must hold one block {name!r}, has {count}.")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
