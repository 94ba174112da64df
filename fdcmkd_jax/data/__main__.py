"""The command for data sets: ``fdcmkd-jax data list|check|prepare|describe``."""

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from fdcmkd_jax import data
from fdcmkd_jax.data.index import read_index
from fdcmkd_jax.registry import ConfigError, constructor, parse_option

DESCRIPTION = """\
Lists, checks, prepares and describes data sets.

    list             name the data sets, with a line on each
    check NAME       compare downloaded lists and files with their documentation; decode every clip
    prepare NAME     write the records of a data set, which training otherwise does on first use
    describe NAME    print its splits, modalities, shapes and classes

    fdcmkd-jax data check crema_d --option manual_dir=downloads/CREMA-D

Data sets that are downloaded by hand take the option manual_dir. What check and prepare decode is
kept: interrupted, they continue, and prepare begins where check has ended. Exit status: 0; 1 if
check finds a defect; 2 and one line on a mistake.

NAME may be an import path of a data set of your own: my_package.my_module:my_data.
"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m fdcmkd_jax.data") -> int:
    """Runs the command line.

    Args:
        arguments: The arguments after the command's name; those of this process by default.
        prog: The command's name, in help and messages.

    Returns:
        The exit status.
    """
    flags = _parser(prog).parse_args(arguments)
    logging.set_verbosity(logging.WARNING)
    sys.path.append(str(Path.cwd()))  # Import paths name modules of the current folder, too.
    try:
        status = flags.action(flags)
    except ConfigError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{prog}: cannot read or write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return status or 0


def list_names(flags: argparse.Namespace) -> None:
    """Prints the name of each data set with the first line of its documentation."""
    del flags
    for name in data.names():
        documentation = inspect.getdoc(data.TABLE[name]) or ""
        print(f"{name:16}{documentation.splitlines()[0]}")


def check(flags: argparse.Namespace) -> int:
    """Checks downloaded files; returns 1 if anything is wrong with them."""
    report = data.check(flags.name, data_dir=flags.data_dir.absolute(), **_options(flags))
    print(*report.lines(), sep="\n")
    return 0 if report.ok else 1


def prepare(flags: argparse.Namespace) -> None:
    """Prepares the records of a data set."""
    print(f"preparing {flags.name} under {flags.data_dir} ...", flush=True)
    sizes = {name: len(split) for name, split in _load(flags).splits.items()}
    print("prepared: " + ", ".join(f"{size:,} {name}" for name, size in sizes.items()))


def describe(flags: argparse.Namespace) -> None:
    """Prints the splits, modalities and classes of a data set, prepared if necessary."""
    dataset = _load(flags)
    for name, split in dataset.splits.items():
        print(f"{name:8}{len(split):>10,} examples")
    example = dataset.first_example()
    for modality in dataset.modalities:
        print(f"{modality:8}{_shapes(dataset, modality, example[modality])}")
    print(f"{len(dataset.class_names)} classes, with their examples:")
    counts = [_class_counts(split, len(dataset.class_names)) for split in dataset.splits.values()]
    width = max(map(len, dataset.class_names))
    print(f"    {'':{width}}" + "".join(f"{name:>8}" for name in dataset.splits))
    for name, *of_class in zip(dataset.class_names, *counts, strict=True):
        print(f"    {name:{width}}" + "".join(f"{count:>8,}" for count in of_class))


def _shapes(dataset: data.Dataset, modality: str, raw: Any) -> str:
    """Describes the arrays of an example, and the model's input made of raw ones."""
    if not isinstance(raw, Mapping):
        return _shape(raw)
    batch = jax.tree.map(lambda x: np.asarray(x)[None], raw)
    x = jax.eval_shape(dataset.preprocessing[modality].function, batch)
    parts = ", ".join(f"{name} {_shape(array)}" for name, array in raw.items())
    return f"{_shape(jax.ShapeDtypeStruct(x.shape[1:], x.dtype))} from {parts}"


def _shape(x: Any) -> str:
    return f"{x.dtype} {list(x.shape)}"


def _class_counts(split: data.Source, num_classes: int) -> np.ndarray:
    return np.bincount(np.ravel(read_index(split).labels), minlength=num_classes)


def _load(flags: argparse.Namespace) -> data.Dataset:
    constructor("data set", data.TABLE, flags.name)  # A wrong name shows before its options.
    return data.make(
        flags.name, data_dir=flags.data_dir.absolute(), seed=flags.seed, **_options(flags)
    )


def _options(flags: argparse.Namespace) -> dict[str, Any]:
    return dict(parse_option(text) for text in flags.option)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="name the data sets").set_defaults(action=list_names)
    for name, action, purpose in (
        ("check", check, "compare downloaded lists and files with their documentation"),
        ("prepare", prepare, "write the records of a data set"),
        ("describe", describe, "print splits, modalities, shapes and classes"),
    ):
        subparser = actions.add_parser(name, help=purpose)
        subparser.set_defaults(action=action)
        subparser.add_argument("name", metavar="NAME", help="see list, or an import path")
        subparser.add_argument(
            "--data_dir", type=Path, default=Path("data"), help="folder of the records (./data)"
        )
        subparser.add_argument("--seed", type=int, default=0, help="seed of the splits (0)")
        subparser.add_argument(
            "--option",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="an option of the data set, such as pairs_per_class=20; may be repeated",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
