"""Views of game maps with depth and labels, rendered by the package vizdoom without a display."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from fdcmkd_jax.data.rgbd.frame import Frame
from fdcmkd_jax.registry import ConfigError

CLASSES = ("wall", "floor", "ceiling", "monster", "item", "other")
MAPS = tuple(f"map{number:02}" for number in range(1, 33))
"""The maps of ``freedoom2.wad``."""

SIZE = (120, 160)
INSTALL = "pip install --no-deps -r requirements-doom.txt"

_ITEMS = ("Health", "Armor", "Weapon", "Ammo", "Powerup", "Key", "Item")
_SETTLING = 8
"""Ticks after which the eye is back at its height over the floor."""


class View(NamedTuple):
    """A rendered view.

    Attributes:
        map: Name of the map.
        number: The number of the view in its map, from 0; those that show too little are left out.
        frame: The view; depth is the engine's, of 8 bits.
    """

    map: str
    number: int
    frame: Frame


def render(name: str, count: int, *, seed: int) -> Iterator[View]:
    """Renders views of a map from places where things lie, in random directions.

    The same seed gives the same bytes. A view is left out if one class covers more than nine tenths
    of it, or if there are fewer than three classes.

    Args:
        name: A name in `MAPS`.
        count: Number of views, before some are left out.
        seed: Seed of the engine, the places and the directions.

    Raises:
        ConfigError: If vizdoom is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield from _views(name, count, seed, Path(folder))


def _views(name: str, count: int, seed: int, folder: Path) -> Iterator[View]:
    game = _start(name, seed, folder)
    try:
        random = np.random.default_rng([seed, MAPS.index(name)])
        state = game.get_state()
        places = sorted({(round(x.position_x), round(x.position_y)) for x in state.objects})
        for number in range(count):
            x, y = places[random.integers(len(places))]
            game.send_game_command(f"warp {x} {y}")
            game.make_action([float(random.integers(-180, 180))])
            game.make_action([0.0], _SETTLING)
            state = game.get_state()
            frame = _frame(state)
            if _shows_enough(frame.labels):
                yield View(name, number, frame)
    finally:
        game.close()


def _start(name: str, seed: int, folder: Path) -> Any:
    """Starts the engine in a map, with nothing on the screen but the view.

    The engine writes its settings and a folder of its own into the current folder, unless told.
    """
    try:
        import vizdoom
    except ImportError as error:
        raise ConfigError(
            f"doom_rgbd is rendered by vizdoom, which is not installed. Run: {INSTALL}"
        ) from error
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(Path(vizdoom.__file__).parent / "freedoom2.wad"))
    game.set_doom_config_path(str(folder / "engine.ini"))
    game.set_doom_map(name)
    game.set_seed(seed)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_depth_buffer_enabled(True)
    game.set_labels_buffer_enabled(True)
    game.set_objects_info_enabled(True)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    for hide in ("hud", "weapon", "crosshair", "decals", "particles", "effects_sprites"):
        getattr(game, f"set_render_{hide}")(False)
    for hide in ("messages", "screen_flashes"):
        getattr(game, f"set_render_{hide}")(False)
    game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_episode_timeout(0)
    with contextlib.chdir(folder):
        game.init()
    for command in ("god", "notarget", "noclip"):
        game.send_game_command(command)
    game.make_action([0.0], _SETTLING)
    return game


def _frame(state: Any) -> Frame:
    """Makes classes of the engine's labels, which are numbers of objects above 1."""
    stored = state.labels_buffer
    labels = np.full(stored.shape, CLASSES.index("other"), np.uint8)
    labels[stored == 0] = CLASSES.index("wall")
    # The engine has one label for both; a flat surface below the horizon is a floor.
    horizon = len(stored) // 2
    labels[:horizon][stored[:horizon] == 1] = CLASSES.index("ceiling")
    labels[horizon:][stored[horizon:] == 1] = CLASSES.index("floor")
    for thing in state.labels:
        labels[stored == thing.value] = CLASSES.index(_class_of(thing.object_category))
    return Frame(
        image=np.ascontiguousarray(state.screen_buffer),
        depth=state.depth_buffer.astype(np.uint16),
        labels=labels,
    )


def _class_of(category: str) -> str:
    if category == "Monster":
        return "monster"
    return "item" if category in _ITEMS else "other"


def _shows_enough(labels: UInt8[np.ndarray, "H W"]) -> bool:
    counts = np.bincount(labels.ravel(), minlength=len(CLASSES))
    return bool(counts.max() <= 0.9 * labels.size and np.count_nonzero(counts) >= 3)
