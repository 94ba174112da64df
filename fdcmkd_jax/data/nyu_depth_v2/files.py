"""Files of NYU-Depth V2: the labelled frames in a MATLAB v7.3 file, and their split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from fdcmkd_jax.data.clips.clip_set import Defect
from fdcmkd_jax.data.nyu_depth_v2.classes import NUM_RAW, table_of_40
from fdcmkd_jax.data.rgbd.frame import Frame
from fdcmkd_jax.registry import ConfigError

FRAMES, SPLITS, MAPPING, HHA = (
    "nyu_depth_v2_labeled.mat",
    "splits.mat",
    "classMapping40.mat",
    "HHA",
)
LAYOUT = f"{FRAMES} and {SPLITS}, and perhaps {MAPPING} and a folder {HHA} of 0.png to 1448.png"
COUNTS = {"train": 795, "test": 654}
MAX_DEPTH = 10.0
"""The largest depth of the sensor, in metres."""

MILLIMETRES = 1000


class Row(NamedTuple):
    """A frame that a split lists.

    Attributes:
        number: Its place in the file, from 0.
        split: ``train`` or ``test``.
        scene: Name of the scene, of which there may be several frames.
        label: 0; every pixel has its own.
    """

    number: int
    split: str
    scene: str
    label: int = 0

    @property
    def name(self) -> str:
        """Names the frame, for messages: its place from 1, as the split lists it."""
        return f"frame {self.number + 1}"


class Contents(NamedTuple):
    """The contents of the user's folder.

    Attributes:
        listed: The rows of the splits.
        usable: Those whose frame has no defect.
        defects: Everything wrong with lists and frames.
    """

    listed: list[Row]
    usable: list[Row]
    defects: list[Defect]


class LabeledFrames:
    """The frames in the user's folder, read one at a time.

    Args:
        manual_dir: The folder.
        hha: Also read the encoded depth.

    Raises:
        ConfigError: If a file is missing, or not of the documented layout.
    """

    def __init__(self, manual_dir: str, *, hha: bool) -> None:
        self._folder, self._hha = Path(manual_dir), hha
        if not manual_dir or not self._folder.is_dir():
            missing = f"there is no folder {manual_dir}" if manual_dir else "it is not set"
            raise ConfigError(f"data.manual_dir of nyu_depth_v2: {missing}; expected {LAYOUT}.")
        required = [FRAMES, SPLITS, *([HHA] if hha else [])]
        for name in required:
            if not (self._folder / name).exists():
                hint = " It is made by others' tools; this package does not." if name == HHA else ""
                raise ConfigError(f"{self._folder} lacks {name}; expected {LAYOUT}.{hint}")
        self._file = _open(self._folder / FRAMES)
        self._table = table_of_40()
        self.mapping_differs = self._read_mapping()

    def __len__(self) -> int:
        return len(self._file["images"])

    def rows(self) -> tuple[list[Row], list[Defect]]:
        """Reads the splits, and what is wrong with them."""
        rows: list[Row] = []
        defects: list[Defect] = []
        splits_of: dict[int, str] = {}
        for split, numbers in _read_splits(self._folder / SPLITS).items():
            for number in numbers:
                name = f"{split}, frame {number}"
                if not 1 <= number <= len(self):
                    detail = f"the file holds frames 1 to {len(self)}"
                    defects.append(Defect("frames outside the file", name, detail))
                elif number in splits_of:
                    detail = f"already in {splits_of[number]}"
                    defects.append(Defect("frames listed twice", name, detail))
                else:
                    splits_of[number] = split
                    rows.append(Row(number - 1, split, self._scene(number - 1)))
        for number in sorted(set(range(1, len(self) + 1)) - set(splits_of)):
            defects.append(Defect("frames in no split", f"frame {number}", "neither lists it"))
        if self.mapping_differs:
            detail = "differs from the published mapping; the published one is used"
            defects.append(Defect("other mappings", MAPPING, detail))
        return rows, defects

    def read(self, number: int) -> Frame:
        """Reads a frame: RGB, depth in millimetres, classes 0 to 39 and 255.

        Raises:
            OSError: If the file is damaged there.
        """
        labels = self._table[np.minimum(self._file["labels"][number], NUM_RAW)].T
        depth = np.round(self._file["depths"][number].T * MILLIMETRES)
        return Frame(
            image=np.ascontiguousarray(self._file["images"][number].T),
            depth=np.clip(depth, 0, np.iinfo(np.uint16).max).astype(np.uint16),
            # Below 0 lies 255, the label of no class.
            labels=np.ascontiguousarray(labels - np.uint8(1)),
            hha=(self._folder / HHA / f"{number}.png").read_bytes() if self._hha else b"",
        )

    def defect(self, row: Row) -> Defect | None:
        """Returns what is wrong with a frame; None if nothing is."""
        try:
            image, depth, labels = (
                self._file[name][row.number] for name in ("images", "depths", "labels")
            )
        except OSError as error:
            return Defect("unreadable frames", row.name, str(error).splitlines()[0])
        if image.min() == image.max():
            return Defect("blank pictures", row.name, f"every pixel is {image.min()}")
        if not np.isfinite(depth).all():
            return Defect("depth without a number", row.name, "NaN or infinite")
        if depth.min() <= 0 or depth.max() > MAX_DEPTH + 0.5:
            detail = f"from {depth.min():.2f} to {depth.max():.2f} m, expected 0 to {MAX_DEPTH}"
            return Defect("depth out of range", row.name, detail)
        if labels.max() > NUM_RAW:
            detail = f"{labels.max()}, expected 0 to {NUM_RAW}"
            return Defect("unknown labels", row.name, detail)
        if not labels.any():
            return Defect("frames without labels", row.name, "every pixel is 0")
        if self._hha and not (self._folder / HHA / f"{row.number}.png").is_file():
            return Defect("frames without HHA", row.name, f"{HHA}/{row.number}.png is missing")
        return None

    def _scene(self, number: int) -> str:
        reference = self._file["scenes"][0, number]
        return "".join(map(chr, np.ravel(self._file[reference][()])))

    def _read_mapping(self) -> bool:
        """Tells whether the user's mapping differs from the published one."""
        path = self._folder / MAPPING
        if not path.is_file():
            return False
        mapping = np.ravel(_read_mat(path).get("mapClass", ()))
        return not np.array_equal(mapping, self._table[1:])


def read_contents(frames: LabeledFrames) -> Contents:
    """Reads the splits and every listed frame once."""
    listed, defects = frames.rows()
    checked = list(_defects(frames, listed))
    usable = [row for row, defect in zip(listed, checked, strict=True) if defect is None]
    return Contents(listed, usable, [*defects, *(defect for defect in checked if defect)])


def _defects(frames: LabeledFrames, rows: list[Row]) -> Iterator[Defect | None]:
    for row in tqdm(rows, desc="reading nyu_depth_v2", unit="frame", disable=None):
        yield frames.defect(row)


def _open(path: Path) -> Any:
    """Opens the file of frames; h5py shows MATLAB's axes in reverse."""
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            "nyu_depth_v2 needs h5py; pip install -r requirements-prepare.txt"
        ) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read as a MATLAB v7.3 file ({str(error).splitlines()[0]})."
        ) from error
    expected = {"images": ("N", 3, "W", "H"), "depths": ("N", "W", "H"), "labels": ("N", "W", "H")}
    for name, shape in expected.items():
        if name not in file or file[name].ndim != len(shape):
            found = f"shape {file[name].shape}" if name in file else "no such variable"
            raise ConfigError(f"{path}: {name} must have shape {shape}, found {found}.")
    shapes = {(len(x), *x.shape[-2:]) for x in (file[name] for name in expected)}
    if len(shapes) > 1 or file["images"].shape[1] != 3:
        sizes = {name: file[name].shape for name in expected}
        raise ConfigError(f"{path}: images, depths and labels do not go together: {sizes}.")
    return file


def _read_splits(path: Path) -> dict[str, list[int]]:
    """Reads the numbers of each split, from 1."""
    lists = _read_mat(path)
    result = {}
    for split, name in (("train", "trainNdxs"), ("test", "testNdxs")):
        if name not in lists:
            raise ConfigError(f"{path} lacks {name}; expected trainNdxs and testNdxs.")
        result[split] = [int(number) for number in np.ravel(lists[name])]
    return result


def _read_mat(path: Path) -> dict[str, Any]:
    """Reads a small MATLAB v5 file."""
    from scipy import io

    try:
        return io.loadmat(path)
    except Exception as error:  # The reader raises many kinds.
        raise ConfigError(f"{path} cannot be read as a MATLAB file ({error}).") from error
