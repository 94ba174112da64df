"""FD-CMKD here and in PyTorch, side by side: same start, same batches, same recipe.

    python benchmarks/compare_pytorch.py --workdir=runs/compare --seeds=5

For each seed both train two teachers and two students on AV-digits-20 as whole jobs, in turn and
each in a process of its own; then single steps of both are timed in turn in one process. Leaves
compare.json, compare.md and compare.html in the workdir. A job that is finished is not run again.
On a GPU add --device=cuda, and --precision=tf32 or bf16.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

DIRECTIONS = ("image->audio", "audio->image")
SYSTEMS = ("fdcmkd_jax", "PyTorch")
JAX_PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}


def main() -> None:
    """Runs what is missing and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True, help="folder of everything")
    parser.add_argument("--seeds", type=int, default=5, help="run seeds 0 to this, exclusive")
    parser.add_argument("--rounds", type=int, default=60, help="steps of each timed in turn")
    parser.add_argument("--epochs", type=int, default=100, help="of teachers and of students")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=tuple(JAX_PRECISION), default="float32")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("an interval needs at least two seeds.")
    os.environ["JAX_PLATFORMS"] = arguments.device
    workdir = arguments.workdir.absolute()
    jobs = [
        run_jobs(workdir, seed, arguments.epochs, arguments.device, arguments.precision)
        for seed in range(arguments.seeds)
    ]
    steps = time_steps(workdir, arguments.rounds, arguments.device, arguments.precision)
    found = {
        "hardware": hardware(arguments.device),
        "precision": arguments.precision,
        "epochs": arguments.epochs,
        "jobs": jobs,
        "steps": steps,
    }
    write(workdir, found)


def run_jobs(workdir: Path, seed: int, epochs: int, device: str, precision: str) -> dict[str, Any]:
    """Both whole jobs of one seed, each in a process of its own; which is first alternates."""
    folder = workdir / f"seed{seed}"
    finished = folder / "jobs.json"
    if finished.is_file():
        return json.loads(finished.read_text(encoding="utf-8"))
    plan, settings = plan_of(workdir, seed, epochs)
    write_start(folder / "start", plan, settings)
    environment = {
        **os.environ,
        "JAX_DEFAULT_MATMUL_PRECISION": JAX_PRECISION[precision],
        "PYTHONPATH": str(ROOT),
    }
    common = [sys.executable]
    commands = {
        "fdcmkd_jax": [
            *common, str(ROOT / "train.py"), f"--config={ROOT / 'configs' / 'av_digits.py'}",
            f"--workdir={folder / 'fdcmkd_jax'}", f"--config.seed={seed}",
            f"--config.data.data_dir={workdir / 'data'}",
            f"--config.train.num_epochs={epochs}", f"--config.teacher.num_epochs={epochs}",
        ],
        "PyTorch": [
            *common, "-m", "benchmarks.pytorch_baseline.train", f"--seed={seed}",
            f"--data-dir={workdir / 'data'}", f"--workdir={folder / 'PyTorch'}",
            f"--start={folder / 'start'}", f"--epochs={epochs}", f"--device={device}",
            f"--precision={precision}",
        ],
    }  # fmt: skip
    order = list(commands.items())
    result: dict[str, Any] = {"seed": seed}
    for name, command in order if seed % 2 == 0 else order[::-1]:
        print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
        result[name] = measured(command, environment)
    result["fdcmkd_jax"] |= our_results(folder / "fdcmkd_jax")
    result["PyTorch"] |= their_results(folder / "PyTorch")
    finished.write_text(json.dumps(result), encoding="utf-8")
    return result


def measured(command: list[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Runs a command to its end: wall-clock seconds and the peak of its resident memory in MiB."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=dict(environment), cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"failed: {' '.join(command)}")
    return {"seconds": seconds, "peak_mib": usage.ru_maxrss / 1024}


def our_results(run: Path) -> dict[str, Any]:
    """Test accuracies and the training loss of both students."""
    entries = json.loads((run / "results.json").read_text(encoding="utf-8"))
    result = {}
    for direction in DIRECTIONS:
        entry = entries["students"][direction]
        log = run / "students" / direction.replace("->", "-to-") / "metrics.jsonl"
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        result[direction] = {
            "test": entry["test"]["accuracy"],
            "last": entry["last"]["test"]["accuracy"],
            "losses": [row["loss"] for row in rows if row["split"] == "train"],
        }
    return {"students": result}


def their_results(run: Path) -> dict[str, Any]:
    """The same of the baseline; its losses, one a step, are averaged over the same windows."""
    entries = json.loads((run / "results.json").read_text(encoding="utf-8"))["students"]
    return {
        "students": {
            direction: {
                "test": entries[direction]["test"],
                "last": entries[direction]["last"],
                "losses": np.mean(np.reshape(entries[direction]["losses"], (-1, 3)), 1).tolist(),
            }
            for direction in DIRECTIONS
        }
    }


def plan_of(workdir: Path, seed: int, epochs: int) -> tuple[Any, dict[str, Any]]:
    """The default config of AV-digits at a seed, built."""
    import runpy

    from fdcmkd_jax import plan

    config = runpy.run_path(str(ROOT / "configs" / "av_digits.py"))["get_config"]()
    config.seed = seed
    config.data.data_dir = str(workdir / "data")
    config.train.num_epochs = config.teacher.num_epochs = epochs
    settings = plan.resolve(config)
    return plan.build(settings, workdir), settings


def states(plan: Any, settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By folder, each model's job and its state before the first step."""
    import jax

    from fdcmkd_jax import experiment, loop

    per_epoch = 3
    optimizer, _ = plan.make_optimizer(
        num_epochs=plan.teacher.num_epochs, steps_per_epoch=per_epoch
    )
    result: dict[str, tuple[Any, Any]] = {}
    for direction in plan.directions:
        (modality,) = direction.teachers
        teacher = experiment.teacher_job(plan, modality)
        start = loop.start(teacher, plan.harness, optimizer)
        result[teacher.name] = (teacher, start)
        frozen = loop.Teacher(teacher.model, modality, jax.device_get(start.variables))
        student = experiment.student_job(plan, settings["weights"], direction, {modality: frozen})
        result[student.name] = (student, loop.start(student, plan.harness, optimizer))
    return result


def write_start(folder: Path, plan: Any, settings: Mapping[str, Any]) -> None:
    """Leaves our first weights and our batches' ids for the baseline."""
    import jax
    import torch

    from fdcmkd_jax import interop
    from fdcmkd_jax.data import pipeline

    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, dict[str, Any]] = {"teachers": {}, "students": {}, "heads": {}}

    def add(part: str, prefix: str, arrays: Mapping[str, Any]) -> None:
        for key, value in arrays.items():
            content[part][f"{prefix}.{key}"] = torch.from_numpy(np.array(value))

    for name, (job, start) in states(plan, settings).items():
        found = jax.device_get(start)
        weights = interop.to_state_dict(found.variables, naming="reproduction")
        if job.teacher is None:
            add("teachers", f"models.{job.modality}", weights)
            continue
        direction = name.removeprefix("students/").replace("-to-", "->")
        add("students", direction, weights)
        for group in ("align", "auxiliary"):
            for band, dense in found.params["method"][group].items():
                head = {"weight": dense["kernel"].T, "bias": dense["bias"]}
                add("heads", f"{direction}.groups.{group}.{band}", head)
    torch.save(content, folder / "start.pt")
    batches = pipeline.train_batches(plan.student_view, plan.harness.batches, seed=settings["seed"])
    steps = plan.teacher.num_epochs * pipeline.steps_per_epoch(
        plan.student_view, plan.harness.batches
    )
    np.save(folder / "order.npy", np.stack([next(batches)["id"] for _ in range(steps)]))


def time_steps(workdir: Path, rounds: int, device: str, precision: str) -> dict[str, list[float]]:
    """Seconds of single steps of both directions, one of each implementation in turn."""
    import jax
    import torch

    from benchmarks.pytorch_baseline import data, train
    from benchmarks.pytorch_baseline.models import images_first, resnet_tiny
    from fdcmkd_jax import loop
    from fdcmkd_jax.data import pipeline

    jax.config.update("jax_default_matmul_precision", JAX_PRECISION[precision])
    plan, settings = plan_of(workdir, 0, 100)
    batch = next(pipeline.train_batches(plan.student_view, plan.harness.batches, seed=0))

    def our_step(cached: bool) -> Callable[[], None]:
        ours = []
        for job, start in states(plan, settings).values():
            if job.teacher is not None:
                source = loop.training_split(job, plan.harness) if cached else job.train
                first = next(pipeline.train_batches(source, plan.harness.batches, seed=0))
                step, teacher = loop.train_step(job, plan.harness)
                replicated = plan.harness.devices.replicate(start)
                ours.append([step, replicated, teacher, plan.harness.devices.split(first)])

        def run() -> None:
            for each in ours:
                step, current, teacher, on_device = each
                each[1], sums = step(current, teacher, on_device)
                jax.block_until_ready(sums)

        return run

    tensors = {
        name: images_first(torch.from_numpy(np.array(batch[name]))) for name in data.MODALITIES
    }
    tensors["label"] = torch.from_numpy(np.array(batch["label"])).long()

    def their_step(compiled: bool) -> Callable[[], None]:
        recipe = train.Recipe()
        hardware = train.Hardware(device, precision, compiled)
        module = hardware.prepare(
            train.Distillation(
                {name: resnet_tiny() for name in data.MODALITIES},
                {name: resnet_tiny() for name in train.DIRECTIONS},
                recipe.weights,
            )
        ).train()
        optimizer = recipe.optimizer([p for p in module.parameters() if p.requires_grad])
        step = hardware.step(module, optimizer)
        batch_there = hardware.move(tensors)

        def run() -> None:
            step(batch_there)
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    timed = {
        "fdcmkd_jax": our_step(cached=True),
        "fdcmkd_jax, teacher in each step": our_step(cached=False),
        "PyTorch": their_step(compiled=False),
        "PyTorch, compiled": their_step(compiled=True),
    }
    for run in timed.values():
        for _ in range(3):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run in timed.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def hardware(device: str) -> str:
    """What everything ran on, in words."""
    import jax
    import torch

    versions = f"jax {jax.__version__}, PyTorch {torch.__version__.split('+')[0]}"
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, {versions}"
    model = "CPU"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {versions}"


def write(workdir: Path, found: Mapping[str, Any]) -> None:
    """Writes compare.json, compare.md and compare.html, and prints the tables."""
    from fdcmkd_jax.report import page, style

    tables = {"Accuracy": accuracies(found["jobs"]), "Cost": costs(found)}
    text = "\n\n".join(markdown(rows) for rows in tables.values())
    (workdir / "compare.json").write_text(json.dumps(found), encoding="utf-8")
    (workdir / "compare.md").write_text(text + "\n", encoding="utf-8")
    html = page.fill(
        (Path(__file__).parent / "compare_pytorch.html").read_text(encoding="utf-8"),
        hardware=found["hardware"],
        precision=found["precision"],
        seeds=len(found["jobs"]),
        epochs=found["epochs"],
        batch_size=BATCH_SIZE,
        tables=tables,
        curves=style.data_uri(curves(found["jobs"])),
        apart=style.data_uri(apart(found["jobs"])),
    )
    (workdir / "compare.html").write_text(html, encoding="utf-8")
    print(text)
    print(f"page: {workdir / 'compare.html'}")


BATCH_SIZE = 64


def accuracies(jobs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Test accuracy in percent, mean and 95 % t interval over seeds, and the paired difference."""
    from fdcmkd_jax.metrics import t_interval

    rows: list[tuple[str, ...]] = [("student", *SYSTEMS, "difference, paired")]
    for which, words in (("test", "validated step"), ("last", "last step")):
        for direction in DIRECTIONS:
            ours, theirs = (
                [100 * job[name]["students"][direction][which] for job in jobs] for name in SYSTEMS
            )
            difference = [a - b for a, b in zip(ours, theirs, strict=True)]
            cells = (str(t_interval(values)) for values in (ours, theirs, difference))
            rows.append((f"{direction}, {words}", *cells))
    return rows


def costs(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Times and memory of each, and how many times ours they are (above 1: ours is less)."""
    steps, jobs = found["steps"], found["jobs"]
    median = {name: statistics.median(values) for name, values in steps.items()}
    rows: list[tuple[str, ...]] = [("", "value", "times ours")]
    for name, values in steps.items():
        each = [b / a for a, b in zip(steps["fdcmkd_jax"], values, strict=True)]
        low, middle, high = np.percentile(each, (25, 50, 75))
        ratio = "" if name == "fdcmkd_jax" else f"{middle:.2f} ({low:.2f} to {high:.2f})"
        rate = BATCH_SIZE / median[name]
        words = f"{1e3 * median[name]:.1f} ms, {rate:.0f} pairs a second"
        rows.append((f"step of both directions: {name}", words, ratio))
    for key, what, unit in (("seconds", "whole job", "s"), ("peak_mib", "its peak memory", "MiB")):
        for name in SYSTEMS:
            mean = statistics.mean(job[name][key] for job in jobs)
            each = [job[name][key] / job["fdcmkd_jax"][key] for job in jobs]
            ratio = "" if name == "fdcmkd_jax" else f"{statistics.mean(each):.2f}"
            rows.append((f"{what}: {name}", f"{mean:.0f} {unit}", ratio))
    return rows


def curves(jobs: list[dict[str, Any]]) -> Any:
    """Loss of both students by step, every seed."""
    from fdcmkd_jax.report import style

    figure, panels = _panels("training loss")
    for direction, axes in panels.items():
        for job in jobs:
            for name, dashes, colour in zip(
                SYSTEMS, ("-", ":"), (style.TERMS["low"], style.TERMS["high"]), strict=True
            ):
                losses = job[name]["students"][direction]["losses"]
                label = name if job is jobs[0] else None
                axes.plot(losses, dashes, color=colour, linewidth=1, alpha=0.8, label=label)
        axes.legend(frameon=False, fontsize=style.SMALL)
    return figure


def apart(jobs: list[dict[str, Any]]) -> Any:
    """How far the two loss curves of a seed are apart, relatively."""
    from fdcmkd_jax.report import style

    figure, panels = _panels("relative difference")
    for direction, axes in panels.items():
        for job in jobs:
            ours, theirs = (np.array(job[n]["students"][direction]["losses"]) for n in SYSTEMS)
            axes.plot(np.abs(ours - theirs) / theirs, color=style.INK, linewidth=0.8, alpha=0.6)
    return figure


def _panels(y: str) -> tuple[Any, dict[str, Any]]:
    """A figure of one panel a direction over epochs, logarithmic."""
    from matplotlib.figure import Figure

    from fdcmkd_jax.report import style

    figure = Figure(figsize=(style.WIDTH, 3.2), layout=style.roomy())
    panels = dict(zip(DIRECTIONS, figure.subplots(1, 2, sharey=True), strict=True))
    for direction, axes in panels.items():
        style.panel(axes, direction, x="epoch", y=y)
        axes.set_yscale("log")
    return figure, panels


def markdown(rows: list[tuple[str, ...]]) -> str:
    """A table whose first row is its head."""
    lines = [" | ".join(row) for row in (rows[0], ("---",) * len(rows[0]), *rows[1:])]
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    main()
