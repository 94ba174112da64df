"""Data sets by name. A new data set is one folder and one line of each table here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fdcmkd_jax.data import ave, crema_d, crisis_mmd, vggsound50
from fdcmkd_jax.data.av_digits import av_digits
from fdcmkd_jax.data.av_digits.preprocessing import preprocessing as av_digits_preprocessing
from fdcmkd_jax.data.base import Dataset, Example, Preprocessing, Source
from fdcmkd_jax.data.clips.check import Report
from fdcmkd_jax.data.clips.preprocessing import preprocessing as clips_preprocessing
from fdcmkd_jax.data.image_text.stages import preprocessing as image_text_preprocessing
from fdcmkd_jax.data.openmoji import openmoji
from fdcmkd_jax.registry import ConfigError, build

TABLE: Mapping[str, Callable[..., Dataset]] = {
    "av_digits": av_digits,
    "ave": ave.ave,
    "crema_d": crema_d.crema_d,
    "crisis_mmd": crisis_mmd.crisis_mmd,
    "openmoji": openmoji,
    "vggsound50": vggsound50.vggsound50,
}
"""The constructor of each data set."""

PREPROCESSING: Mapping[str, Callable[[str, Mapping[str, Any]], Preprocessing]] = {
    "av_digits": av_digits_preprocessing,
    "ave": clips_preprocessing,
    "crema_d": clips_preprocessing,
    "crisis_mmd": image_text_preprocessing,
    "openmoji": image_text_preprocessing,
    "vggsound50": clips_preprocessing,
}
"""The function that rebuilds the preprocessing of each data set, from modality and constants."""

CHECKS: Mapping[str, Callable[..., Report]] = {
    "ave": ave.check,
    "crema_d": crema_d.check,
    "crisis_mmd": crisis_mmd.check,
    "vggsound50": vggsound50.check,
}
"""The function that checks the downloaded files of each data set that has any."""


def names() -> tuple[str, ...]:
    """Returns the names of the known data sets, sorted."""
    return tuple(sorted(TABLE))


def make(name: str, *, data_dir: Path, seed: int, **options: Any) -> Dataset:
    """Loads a data set, prepared under ``data_dir`` on first use.

    Args:
        name: See `names`, or an import path ``package.module:function``.
        data_dir: Folder of the prepared records.
        seed: Seed of the run, for data sets that draw their split.
        **options: The data set's own keywords.

    Raises:
        ConfigError: If the name or an option is unknown, a value is refused, or raw data are
            missing.
    """
    return build("data set", TABLE, name, options, data_dir=data_dir, seed=seed)


def check(name: str, *, data_dir: Path, **options: Any) -> Report:
    """Checks the downloaded files of a data set; see `clips.check.check_files`.

    Args:
        name: A data set that is downloaded by hand.
        data_dir: Folder of the prepared records.
        **options: ``manual_dir`` and other options of the data set that decide what is read.

    Raises:
        ConfigError: If the name or an option is unknown, or a list or folder is missing.
    """
    return build("data set that can be checked:", CHECKS, name, options, data_dir=data_dir)


def preprocessing(record: Mapping[str, Any]) -> Preprocessing:
    """Rebuilds the preprocessing of a trained model, without reading any data.

    Args:
        record: ``{"data", "modality", "constants"}``, from the model's ``model.json``.

    Raises:
        ConfigError: If the data set is not in the table, or the constants are not its own. Import
            paths are not followed: a file that was read must not choose code to run.
    """
    try:
        rebuild = PREPROCESSING[record["data"]]
        return rebuild(record["modality"], record["constants"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"cannot rebuild the preprocessing of {record.get('modality')!r} of data set "
            f"{record.get('data')!r} ({type(error).__name__}: {error})."
        ) from error


__all__ = [
    "CHECKS",
    "PREPROCESSING",
    "TABLE",
    "Dataset",
    "Example",
    "Preprocessing",
    "Report",
    "Source",
    "check",
    "make",
    "names",
    "preprocessing",
]
