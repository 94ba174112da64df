"""Steps of training on a GPU: fdcmkd_jax against PyTorch, in one command.

    python benchmarks/gpu.py --out=docs/performance/gpu.json

FD-CMKD in both directions between ResNet-18 on CREMA-D's shapes (spectrograms 257 x 299 x 1 and
frames 224 x 224 x 3), and Hinton's KD between DeepLabV3+ on pictures of 480 x 640, with frozen
teachers in the step, in float32, TF32 and bfloat16; PyTorch eager, in the channels_last layout, and
with torch.compile. All variants of a precision alternate in one process, on batches that are on the
device. Beside times it writes the peak memory of each side and the share of the device's peak rate
that the step's floating-point operations reach, as XLA counts them. Last, several seeds of a small
model in one program, by jax.vmap. --profile=DIR writes a trace of our steps for TensorBoard.

Without a GPU it says so and writes nothing; --device=cpu runs the same code on small batches, to
check that it is ready.
"""

import argparse
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SHAPES = {"audio": (257, 299, 1), "image": (224, 224, 3)}
NUM_CLASSES = 6
PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}
PEAK_TERAFLOPS = {  # Dense peaks in float32, TF32 and bfloat16, from the vendor's data sheets.
    "A100": (19.5, 156.0, 312.0),
    "H100": (67.0, 495.0, 989.0),
    "H200": (67.0, 495.0, 989.0),
}


def main() -> None:
    """Measures every precision and writes the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON file of the results; printed if left out")
    parser.add_argument("--batch", type=int, default=64, help="examples in a batch of ResNet-18")
    parser.add_argument("--pictures", type=int, default=8, help="pictures in one of DeepLabV3+")
    parser.add_argument("--size", default="480x640", help="height and width of these pictures")
    parser.add_argument("--profile", type=Path, help="folder for a trace of our steps")
    parser.add_argument("--repeats", type=int, default=30, help="steps of each variant")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = arguments.device
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too.
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU: run this on a machine with one, or check the script with --device=cpu.")
    import jax

    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    precisions = PRECISIONS if arguments.device == "cuda" else {"float32": "highest"}
    results = {
        "device": device,
        "versions": {"jax": jax.__version__, "torch": torch.__version__},
        "batches": {"ResNet-18": arguments.batch, "DeepLabV3+": arguments.pictures},
        "steps": {
            model: {name: measured(model, name, arguments, device) for name in precisions}
            for model in ("ResNet-18", "DeepLabV3+")
        },
        "milliseconds of a step per seed": seeds(arguments.repeats),
    }
    text = json.dumps(results, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n", encoding="utf-8")


def steps_of(model: str, precision: str, arguments: argparse.Namespace) -> tuple[Any, Any, float]:
    """Returns our step, a function that makes PyTorch's, and our floating-point operations."""
    import both_directions
    import pixels

    dtype = "bfloat16" if precision == "bf16" else "float32"
    if model == "DeepLabV3+":
        height, width = map(int, arguments.size.split("x"))
        pictures = pixels.Setting(arguments.pictures, (height, width), dtype=dtype)
        step = pixels.OurStep(pictures)
        return step, functools.partial(pixels.their_step, pictures), step.analysis()[0]
    options = {"name": "resnet", "depth": 18, "dtype": dtype}
    setting = both_directions.Setting(options, SHAPES, NUM_CLASSES, arguments.batch)
    both = both_directions.OurStep(setting)
    return both, functools.partial(both_directions.their_step, setting), both.analysis()[0]


def measured(
    model: str, precision: str, arguments: argparse.Namespace, name: str
) -> dict[str, Any]:
    """Times all variants at one precision; returns milliseconds, memory and rates."""
    import jax
    import torch
    from timing import quartiles, seconds_in_turn

    device = arguments.device
    jax.config.update("jax_default_matmul_precision", PRECISIONS[precision])
    ours, make_theirs, flops = steps_of(model, precision, arguments)
    steps: dict[str, Any] = {"fdcmkd_jax": ours}
    for title, layout, compiled in (
        ("PyTorch", False, False),
        ("PyTorch, channels_last", True, False),
        ("PyTorch, compiled", True, True),
    ):
        steps[title] = make_theirs(
            device=device, precision=precision, compiled=compiled, channels_last=layout
        )
    for step in steps.values():
        for _ in range(3):
            step()
    if arguments.profile:
        with jax.profiler.trace(str(arguments.profile / f"{model}-{precision}")):
            for _ in range(3):
                ours()
    repeated = seconds_in_turn(list(steps.values()), arguments.repeats)
    times = dict(zip(steps, repeated, strict=True))
    result: dict[str, Any] = {}
    for title, seconds in times.items():
        ratios = [b / a for a, b in zip(times["fdcmkd_jax"], seconds, strict=True)]
        result[title] = {
            "milliseconds": [1e3 * x for x in quartiles(seconds)],
            "relative to fdcmkd_jax": quartiles(ratios),
        }
    rate = flops / result["fdcmkd_jax"]["milliseconds"][1] / 1e9
    result["fdcmkd_jax"]["teraflops"] = rate
    peaks = next((peak for key, peak in PEAK_TERAFLOPS.items() if key in name), None)
    if peaks:
        peak = dict(zip(PRECISIONS, peaks, strict=True))[precision]
        result["fdcmkd_jax"]["share of peak"] = rate / peak
    if device == "cuda":
        memory = jax.devices()[0].memory_stats() or {}
        result["fdcmkd_jax"]["peak MiB"] = memory.get("peak_bytes_in_use", 0) / 2**20
        result["PyTorch"]["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return result


def seeds(repeats: int, count: int = 8) -> dict[str, float]:
    """Times a step of several seeds of `resnet_tiny`, milliseconds of each seed."""
    from seeds_together import forms
    from timing import in_turn

    times = in_turn(forms("audio", "image", 64, count), repeats)
    names = ("one after another", "jax.lax.map", "jax.vmap")
    return {name: time / count for name, time in zip(names, times, strict=True)}


if __name__ == "__main__":
    main()
