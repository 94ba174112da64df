"""Trains teachers and FD-CMKD students on AV-digits-20 in PyTorch, both directions in one loop.

python -m benchmarks.pytorch_baseline.train --data-dir=runs/data --workdir=runs/pytorch --seed=0
"""

import argparse
import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.pytorch_baseline import data
from benchmarks.pytorch_baseline.distillation import DIRECTIONS, Alone, Distillation
from benchmarks.pytorch_baseline.models import Model, resnet_tiny

PRECISIONS = ("float32", "tf32", "bf16")


@dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule and weights; the defaults are those of ``configs/av_digits.py``."""

    num_epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 0.1
    end_learning_rate: float = 1e-4
    power: float = 0.9
    momentum: float = 0.9
    evaluate_every: int = 5
    weights: Mapping[str, float] = field(
        default_factory=lambda: {"task": 1, "align": 1, "auxiliary": 1, "low": 10, "high": 10}
    )

    def rate(self, epoch: int) -> float:
        """Returns the learning rate of an epoch."""
        decay = (1 - epoch / self.num_epochs) ** self.power
        return self.end_learning_rate + (self.learning_rate - self.end_learning_rate) * decay

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.SGD:
        """Makes one SGD optimizer of all trained parameters."""
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, fused=True
        )


@dataclass(frozen=True)
class Hardware:
    """The device, the precision, and whether steps are compiled."""

    device: str = "cpu"
    precision: str = "float32"
    compiled: bool = False

    def prepare(self, module: nn.Module) -> nn.Module:
        """Moves a module to the device, in the channels-last layout."""
        torch.set_float32_matmul_precision("highest" if self.precision == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = self.precision != "float32"
        torch.backends.cudnn.benchmark = True
        return module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def autocast(self) -> contextlib.AbstractContextManager:
        """Returns a context that computes in bfloat16, if that is the precision."""
        if self.precision == "bf16":
            return torch.autocast(self.device, torch.bfloat16)
        return contextlib.nullcontext()

    def move(self, batch: data.Batch) -> data.Batch:
        """Moves a batch to the device."""
        if self.device == "cpu":
            return batch
        return {name: x.to(self.device, non_blocking=True) for name, x in batch.items()}

    def step(
        self, module: nn.Module, optimizer: torch.optim.Optimizer
    ) -> Callable[[data.Batch], Tensor]:
        """Makes an optimization step, which returns the losses before its update."""
        forward = torch.compile(module) if self.compiled else module

        def step(batch: data.Batch) -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            with self.autocast():
                losses = forward(self.move(batch))
            losses.sum().backward()
            optimizer.step()
            return losses.detach()

        return step


@torch.no_grad()
def accuracy(model: Model, modality: str, pairs: data.Pairs, hardware: Hardware) -> float:
    """Computes the top-1 accuracy over a split."""
    model.eval()
    right = torch.zeros((), dtype=torch.int64, device=hardware.device)
    for batch in data.eval_loader(pairs):
        moved = hardware.move(batch)
        with hardware.autocast():
            logits, _ = model(moved[modality])
        right += (logits.argmax(1) == moved["label"]).sum()
    return right.item() / len(pairs)


def fit(
    module: nn.Module,
    readers: Mapping[str, tuple[Model, str]],
    splits: Mapping[str, data.Pairs],
    recipe: Recipe,
    hardware: Hardware,
    *,
    seed: int,
    order: np.ndarray | None,
    folder: Path,
) -> dict[str, dict[str, Any]]:
    """Trains ``module``, whose forward pass returns one loss for each of ``readers``.

    Args:
        module: Called with a batch.
        readers: By name, each model to evaluate and the modality it reads.
        splits: Of the data set.
        recipe: Optimizer, schedule and weights.
        hardware: The device and precision.
        seed: Seed of the shuffles.
        order: See `data.train_loader`.
        folder: Every model's best state so far is saved here.

    Returns:
        By name: ``losses`` of each step, ``val`` and ``test`` accuracy of the epoch that validation
        selected (which the models hold afterwards), and ``last``, the last epoch's on test.
    """
    module = hardware.prepare(module)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = recipe.optimizer(trained)
    step = hardware.step(module, optimizer)
    loaders = data.train_loader(
        splits["train"],
        recipe.batch_size,
        seed=seed,
        num_epochs=recipe.num_epochs,
        order=order,
        pin_memory=hardware.device != "cpu",
    )
    best: dict[str, tuple[float, dict[str, Tensor]]] = {}
    history = []
    for epoch, loader in enumerate(loaders):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(epoch)
        module.train()
        history += [step(batch) for batch in loader]
        if (epoch + 1) % recipe.evaluate_every and epoch + 1 < recipe.num_epochs:
            continue
        for name, (model, modality) in readers.items():
            score = accuracy(model, modality, splits["val"], hardware)
            if name not in best or score >= best[name][0]:
                best[name] = (score, copy.deepcopy(model.state_dict()))
                torch.save(best[name][1], folder / f"{name.replace('->', '-to-')}.pt")
    curves = torch.stack(history).cpu().numpy()
    result = {}
    for column, (name, (model, modality)) in enumerate(readers.items()):
        last = accuracy(model, modality, splits["test"], hardware)
        val, state = best[name]
        model.load_state_dict(state)
        result[name] = {
            "val": val,
            "test": accuracy(model, modality, splits["test"], hardware),
            "last": last,
            "losses": curves[:, column].tolist(),
        }
    return result


def main() -> None:
    """Trains and evaluates teachers and students, and writes ``results.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="where records are prepared")
    parser.add_argument("--workdir", type=Path, required=True, help="where results are left")
    parser.add_argument("--seed", type=int, default=0, help="of split, start and order")
    parser.add_argument("--start", type=Path, help="folder with start.pt and order.npy to use")
    parser.add_argument("--epochs", type=int, default=Recipe.num_epochs)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--compile", action="store_true", help="run through torch.compile")
    arguments = parser.parse_args()
    began = time.monotonic()
    torch.manual_seed(arguments.seed)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(num_epochs=arguments.epochs)
    hardware = Hardware(arguments.device, arguments.precision, arguments.compile)
    splits = data.read(arguments.data_dir.absolute(), arguments.seed)
    teachers = {modality: resnet_tiny() for modality in data.MODALITIES}
    students = {direction: resnet_tiny() for direction in DIRECTIONS}
    order, start = None, None
    if arguments.start:
        start = torch.load(arguments.start / "start.pt", weights_only=True)
        order = np.load(arguments.start / "order.npy", allow_pickle=False)

    def run(module: nn.Module, readers: Mapping[str, tuple[Model, str]]) -> dict[str, Any]:
        return fit(
            module,
            readers,
            splits,
            recipe,
            hardware,
            seed=arguments.seed,
            order=order,
            folder=arguments.workdir,
        )

    alone = Alone(teachers)
    if start:
        alone.load_state_dict(start["teachers"])
    results: dict[str, Any] = {}
    results["teachers"] = run(alone, {name: (model, name) for name, model in teachers.items()})
    distillation = Distillation(teachers, students, recipe.weights)
    if start:
        distillation.students.load_state_dict(start["students"])
        distillation.heads.load_state_dict(start["heads"])
    results["students"] = run(
        distillation, {name: (students[name], DIRECTIONS[name][1]) for name in DIRECTIONS}
    )
    results["seconds"] = round(time.monotonic() - began, 1)
    (arguments.workdir / "results.json").write_text(json.dumps(results), encoding="utf-8")
    for kind in ("teachers", "students"):
        for name, entry in results[kind].items():
            print(f"{kind[:-1]} {name}: {100 * entry['test']:.1f} % on the test split", flush=True)


if __name__ == "__main__":
    main()
