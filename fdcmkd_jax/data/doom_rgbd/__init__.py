"""Doom-RGBD: views of game maps with depth and a class for every pixel, rendered on the spot."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fdcmkd_jax.data.base import Dataset
from fdcmkd_jax.data.doom_rgbd import render
from fdcmkd_jax.data.rgbd.stages import MODALITIES, FrameTransform, of_depth, of_picture

UNIT = 64.0
"""The engine's depth that becomes 1 in the model's input."""


def doom_rgbd(
    *,
    data_dir: Path,
    views: int = 80,
    maps: int = 32,
    render_seed: int = 0,
    crop: Sequence[int] = (96, 128),
    scales: Sequence[float] = (0.75, 1.5),
) -> Dataset:
    """Loads Doom-RGBD: about 1,000 / 380 / 330 rendered views of 19, 7 and 6 maps, 6 classes.

    These are pictures of a game engine, not of a camera. Modalities are ``image``
    (``[N, 120, 160, 3]`` after preprocessing) and ``depth`` (``[N, 120, 160, 1]``), float32; the
    label is int32 ``[N, 120, 160]``. Maps whose number is a multiple of 5 are for testing, those
    after them for validation.

    Args:
        data_dir: Folder of the prepared records; they are rendered on first use, in half a minute.
        views: Views rendered of each map; some that show too little are left out.
        maps: Number of maps, the first of 32; at least 5.
        render_seed: Seed of the views, and of what moves in them.
        crop: Height and width of training examples; evaluation reads whole views.
        scales: The least and the largest factor of the random scale in training.

    Raises:
        ConfigError: If the package vizdoom is not installed.
        ValueError: If a value is out of range, or a split has no view.

    Source: the package vizdoom (Farama-Foundation/ViZDoom, arXiv 1605.02097) with the free maps of
    Freedoom: Phase 2.
    """
    from fdcmkd_jax.data.rgbd import records  # Imports TFDS, which takes a moment.

    if not 5 <= maps <= len(render.MAPS) or views < 1 or render_seed < 0:
        raise ValueError(
            f"maps must be 5 to {len(render.MAPS)}, views positive and render_seed not negative, "
            f"got {maps}, {views} and {render_seed}."
        )
    folder = records.folder_of(data_dir, f"doom_rgbd_seed{render_seed}_{maps}x{views}")
    if not folder.is_dir():
        _prepare(data_dir, folder.parent.name, render.MAPS[:maps], views, render_seed)
    transform = FrameTransform(crop=tuple(crop), scales=tuple(scales))
    splits, _ = records.read(folder)
    return Dataset(
        modalities=MODALITIES,
        class_names=render.CLASSES,
        splits=splits,
        preprocessing={"image": of_picture(render.SIZE), "depth": of_depth(render.SIZE, UNIT)},
        transform=transform,
        augmented=transform.augmented,
        seeded_splits=False,
    )


def split_of(name: str) -> str:
    """Returns the split of a map.

    Examples:
        >>> [split_of(f"map0{number}") for number in (1, 2, 4, 5)]
        ['val', 'train', 'train', 'test']
    """
    return {0: "test", 1: "val"}.get(int(name.removeprefix("map")) % 5, "train")


def _prepare(data_dir: Path, name: str, maps: tuple[str, ...], views: int, seed: int) -> None:
    """Renders all views and writes their records."""
    from fdcmkd_jax.data.rgbd import records

    rendered: dict[str, list[render.View]] = {"train": [], "val": [], "test": []}
    for view in _views(maps, views, seed):
        rendered[split_of(view.map)].append(view)
    empty = [split for split, part in rendered.items() if not part]
    if empty:
        raise ValueError(f"no view of the split {empty[0]} shows enough; render more than {views}.")
    columns = {split: _columns(part, views) for split, part in rendered.items()}
    records.write(data_dir, name, columns, lambda split, place: rendered[split][place].frame)


def _views(maps: tuple[str, ...], views: int, seed: int) -> Iterator[render.View]:
    for name in maps:
        yield from render.render(name, views, seed=seed)


def _columns(part: list[render.View], views: int) -> dict[str, list[Any]]:
    numbers = np.array([render.MAPS.index(view.map) * views + view.number for view in part])
    return {
        "id": numbers.tolist(),
        "name": [f"{view.map}, view {view.number}" for view in part],
        "group": [view.map for view in part],
    }
