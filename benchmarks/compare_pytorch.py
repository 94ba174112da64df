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
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from timing import seconds_in_turn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

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
    import compare_page  # It imports JAX, which reads the platform then.

    compare_page.write(workdir, found)


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
    windows = {
        direction: len(student["losses"])
        for direction, student in result["fdcmkd_jax"]["students"].items()
    }
    result["PyTorch"] |= their_results(folder / "PyTorch", windows)
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
    for direction, entry in entries["students"].items():
        log = run / "students" / direction.replace("->", "-to-") / "metrics.jsonl"
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        result[direction] = {
            "test": entry["test"]["accuracy"],
            "last": entry["last"]["test"]["accuracy"],
            "losses": [row["loss"] for row in rows if row["split"] == "train"],
        }
    return {"students": result}


def their_results(run: Path, windows: Mapping[str, int]) -> dict[str, Any]:
    """The same of the baseline; its losses, one a step, are averaged over as many windows."""
    entries = json.loads((run / "results.json").read_text(encoding="utf-8"))["students"]
    return {
        "students": {
            direction: {
                "test": entries[direction]["test"],
                "last": entries[direction]["last"],
                "losses": np.mean(
                    np.reshape(entries[direction]["losses"], (count, -1)), 1
                ).tolist(),
            }
            for direction, count in windows.items()
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
    from fdcmkd_jax.data import pipeline

    optimizer, _ = plan.make_optimizer(
        num_epochs=plan.teacher.num_epochs,
        steps_per_epoch=pipeline.steps_per_epoch(plan.teacher_view, plan.harness.batches),
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
    return dict(zip(timed, seconds_in_turn(list(timed.values()), rounds), strict=True))


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


if __name__ == "__main__":
    main()
