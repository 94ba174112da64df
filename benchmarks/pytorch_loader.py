"""JPEG files as records, and PyTorch's DataLoader on them."""

import io
from collections.abc import Generator
from typing import Any

import numpy as np
from PIL import Image

from fdcmkd_jax.data.base import Example
from fdcmkd_jax.data.clips.preprocessing import MEAN, STD

BATCH = 64
HEIGHT, WIDTH = 360, 480


class Pictures:
    """JPEG files of 480x360 pixels as records, in memory so that the disk does not matter."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng(0)
        self._files = [_jpeg(random) for _ in range(32)]
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> Example:
        return {
            "frames": [self._files[row % len(self._files)]],
            "waveform": np.zeros(1, np.int16),
            "label": np.int32(row % 6),
            "id": np.int32(row),
        }


def read_pytorch(workers: int) -> Generator[Any, None, None]:
    """Yields batches with the transforms of torchvision for PIL pictures, written out."""
    import torch

    torch.set_num_threads(1)
    loader: Any = torch.utils.data.DataLoader(
        PyTorchPictures(),  # type: ignore[arg-type]
        BATCH,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        multiprocessing_context="spawn" if workers else None,  # JAX does not survive a fork.
    )
    while True:
        yield from loader


class PyTorchPictures:
    """The same files behind torchvision's transforms for PIL pictures, written out."""

    def __init__(self) -> None:
        self._source = Pictures(4096)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        import torch

        record = self._source[row]
        with Image.open(io.BytesIO(record["frames"][0])) as image:
            picture = image.convert("RGB")
        top, left, height, width = _torch_crop(picture)
        picture = picture.crop((left, top, left + width, top + height))
        picture = picture.resize((224, 224), Image.Resampling.BILINEAR)
        if torch.rand(1).item() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
        return x.sub_(mean).div_(std), int(record["label"])


def _torch_crop(picture: Image.Image) -> tuple[int, int, int, int]:
    """Draws a crop with PyTorch's generator: area in [0.08, 1], ratio in [3/4, 4/3]."""
    import torch

    width, height = picture.size
    for _ in range(10):
        area = height * width * torch.empty(1).uniform_(0.08, 1).item()
        aspect = torch.exp(torch.empty(1).uniform_(np.log(3 / 4), np.log(4 / 3))).item()
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,)).item())
            return top, int(torch.randint(0, width - w + 1, (1,)).item()), h, w
    return 0, 0, height, width


def _jpeg(random: np.random.Generator) -> bytes:
    """Makes a picture with detail of many sizes, as photographs have."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128.0)
    for size in (4, 16, 64):
        coarse = random.normal(size=(HEIGHT // size + 1, WIDTH // size + 1, 3))
        pixels += 6 * size**0.5 * coarse.repeat(size, 0).repeat(size, 1)[:HEIGHT, :WIDTH]
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
