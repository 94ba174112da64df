"""The records of ``av_digits`` as PyTorch batches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from benchmarks.pytorch_baseline.models import images_first
from fdcmkd_jax import data

MODALITIES = ("audio", "image")
Batch = dict[str, Tensor]


class Pairs(Dataset):
    """A split held in memory; indexed by a list of positions, it returns a whole batch."""

    def __init__(self, source: data.Source, dtype: torch.dtype = torch.float32) -> None:
        examples = [source[index] for index in range(len(source))]
        self.tensors: Batch = {
            name: images_first(torch.from_numpy(np.stack([e[name] for e in examples])).to(dtype))
            for name in MODALITIES
        }
        self.tensors["label"] = torch.tensor([int(e["label"]) for e in examples])
        self.ids = [int(e["id"]) for e in examples]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        rows = torch.as_tensor(positions)
        return {name: tensor[rows] for name, tensor in self.tensors.items()}


def read(data_dir: Path, seed: int) -> dict[str, Pairs]:
    """Reads the splits of one draw of AV-digits-20."""
    dataset = data.make("av_digits", data_dir=data_dir, seed=seed)
    return {name: Pairs(source) for name, source in dataset.splits.items()}


def train_loader(
    pairs: Pairs,
    batch_size: int,
    *,
    seed: int,
    num_epochs: int,
    order: np.ndarray | None = None,
    pin_memory: bool = False,
) -> list[DataLoader]:
    """Makes a shuffled loader for each epoch, without the last, smaller batch.

    Args:
        pairs: The training split.
        batch_size: N.
        seed: Seed of the shuffles.
        num_epochs: Number of loaders.
        order: Example ids of all batches in turn, shape ``[steps, N]``, instead of shuffles.
        pin_memory: Put batches into page-locked memory, for a GPU.
    """
    per_epoch = len(pairs) // batch_size
    if order is None:
        generator = torch.Generator().manual_seed(seed)
        shuffled = BatchSampler(RandomSampler(pairs, generator=generator), batch_size, True)
        return [DataLoader(pairs, None, sampler=shuffled, pin_memory=pin_memory)] * num_epochs
    position = {id_: index for index, id_ in enumerate(pairs.ids)}
    batches = [[position[id_] for id_ in row] for row in order.tolist()]
    epochs = [batches[e * per_epoch : (e + 1) * per_epoch] for e in range(num_epochs)]
    return [DataLoader(pairs, None, sampler=epoch, pin_memory=pin_memory) for epoch in epochs]


def eval_loader(pairs: Pairs, batch_size: int = 512) -> DataLoader:
    """Makes a loader of the split in order."""
    return DataLoader(
        pairs, None, sampler=BatchSampler(SequentialSampler(pairs), batch_size, False)
    )
