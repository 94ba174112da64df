"""Time of a study by the present code and by an earlier revision, in minutes a round.

    python benchmarks/study.py --against=442778c

Runs some arms of studies/controls.toml and its baseline, each time from nothing compiled, by one
revision and then the other. Writes a table of docs/performance.md, and docs/performance/study.json.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from bench import FOLDER, ROOT, replace
from compare_pytorch import measured
from measure import Row, as_data, environment, prepare_data, progress, table

from fdcmkd_jax.training.log import write_json

OLD, NEW = "revision {}", "present code"


def main() -> None:
    """Measures both revisions in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", required=True, help="revision of git to compare with")
    parser.add_argument("--arms", default="kd,mse,fd_cmkd,shuffled")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workdir", type=Path, default=ROOT / "runs" / "bench_study")
    arguments = parser.parse_args()
    workdir = arguments.workdir.absolute()
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    old = workdir / "old"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(old)], check=True)
    subprocess.run(["git", "checkout", "--quiet", arguments.against], cwd=old, check=True)
    prepare_data(workdir)
    roots = {OLD.format(arguments.against): old, NEW: ROOT}
    seconds: dict[str, list[float]] = {name: [] for name in roots}
    for number in range(arguments.rounds):
        for name, root in roots.items():
            progress(f"round {number + 1} of {arguments.rounds}: {name}")
            target = workdir / "study"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(workdir / "data", target / "data")
            words = [sys.executable, "-m", "fdcmkd_jax", "study", "studies/controls.toml"]
            words += [f"--workdir={target}", f"--arms={arguments.arms}"]
            words += [f"--seeds={arguments.seeds}", "--jobs=2"]
            variables = {
                **environment(target / "programs"),
                "PYTHONPATH": str(root),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            seconds[name].append(measured(words, variables, cwd=root)["seconds"])
    command = f"fdcmkd-jax study studies/controls.toml --arms={arguments.arms}"
    command += f" --seeds={arguments.seeds} --jobs=2"
    before = OLD.format(arguments.against)
    rows = [
        Row(name, "s", values, before if name == NEW else "", command)
        for name, values in seconds.items()
    ]
    replace("study", table(rows))
    write_json(FOLDER / "study.json", as_data({"study": rows}))


if __name__ == "__main__":
    main()
