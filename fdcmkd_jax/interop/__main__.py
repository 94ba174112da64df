"""Imports PyTorch weights, and exports trained models.

    inspect FILE|DIR          list the contents of a weights file or of a trained model's folder
    import FILE|DIR --to=DIR  make a teacher, or a model's start, of PyTorch weights
    export DIR --to=FILE      write a trained model as .pt, .safetensors or .stablehlo

The keys of a state dict may be those of torchvision's ResNets (conv1.weight, ..., fc.weight) and
MobileNetV2 (features.0.0.weight, ...), or of FD-CMKD's public code (net.conv1.weight, ...,
classifier.weight). A BERT is a folder of huggingface/transformers with config.json,
model.safetensors and tokenizer.json. After an import

    fdcmkd-jax train --config=... --config.teacher.checkpoints.image=DIR    uses it as the teacher,
    fdcmkd-jax train --config=... --config.teacher.start_from.image=DIR     starts teachers from it,
    fdcmkd-jax train --config=... --config.train.start_from.image=DIR       starts students from it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import jax.numpy as jnp
from absl import logging

from fdcmkd_jax import data, models
from fdcmkd_jax.interop import catalog, files, functions, imports, layouts, names
from fdcmkd_jax.registry import ConfigError, parse_option
from fdcmkd_jax.training import state
from fdcmkd_jax.training.checkpoint import load_variables
from fdcmkd_jax.training.description import ModelDescription

FUNCTION = ".stablehlo"


def main(arguments: Sequence[str] | None = None, prog: str = "python -m fdcmkd_jax.interop") -> int:
    """Runs the command line.

    Args:
        arguments: The arguments after the command's name; those of this process by default.
        prog: The command's name, in help and messages.

    Returns:
        The exit status.
    """
    flags = _parser(prog).parse_args(arguments)
    logging.set_verbosity(logging.WARNING)
    try:
        flags.action(flags)
    except ConfigError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{prog}: cannot read or write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def inspect(arguments: argparse.Namespace) -> None:
    """Prints the contents of a file or folder."""
    path: Path = arguments.path
    if (path / "model.json").is_file():
        description, variables, step = _load_trained(path, arguments.model)
        naming = layouts.naming_of(variables)
        state_dict = names.to_state_dict(variables, naming=naming, step=step)
        print(f"{description.model} for {description.modality or 'any modality'}, step {step}")
    else:
        weights = imports.find_weights(path, entry=arguments.entry)
        state_dict = weights.state
        naming = layouts.guess_naming(state_dict)
        options = weights.options or catalog.identify(state_dict, naming=naming)
        channels, num_classes = catalog.sizes(state_dict, naming=naming)
        print(f"{naming} names, {channels} input channels, {num_classes} classes")
        print(f"fits the model {dict(options)}" if options else "fits no known model")
    for key, value in state_dict.items():
        print(f"  {key:44} {value.dtype!s:8} {list(value.shape)}")
    count = sum(value.size for key, value in state_dict.items() if names.is_parameter(key))
    print(f"{count:,} parameters")


def import_weights(arguments: argparse.Namespace) -> None:
    """Makes a model's folder from weights."""
    target: Path = arguments.to
    if (target / "checkpoints").exists():
        raise ConfigError(f"{target} holds a model already; choose another --to, or delete it.")
    weights = imports.find_weights(arguments.path, entry=arguments.entry)
    named = {"name": arguments.model} if arguments.model else {}
    depth = {"depth": arguments.depth} if arguments.depth else {}
    request = imports.Request(
        options={**named, **depth, **dict(parse_option(text) for text in arguments.option)},
        naming=arguments.naming or "",
        num_classes=arguments.num_classes or 0,
        channels=arguments.channels or 0,
        one_channel=arguments.one_channel or "",
        backbone=arguments.backbone,
        partial=arguments.partial,
        seed=arguments.seed,
    )
    imported = imports.convert(weights, request)
    changed = {key: fate for key, fate in imported.fates.items() if fate != "loaded"}
    for key, fate in changed.items():
        print(f"{key}: {fate}")
    imports.save(imported, target, modality=arguments.modality, tokenizer=weights.tokenizer)
    channels = f"{imported.channels} input channels" if imported.channels else "token ids"
    loaded = len(imported.fates) - len(changed)
    print(f"{loaded} keys loaded; every key stands in {target / imports.REPORT}")
    print(f"{dict(imported.options)}, {imported.num_classes} classes, {channels}: {target}")


def export_model(arguments: argparse.Namespace) -> None:
    """Writes a trained model in a portable format, without the heads of its method."""
    target: Path = arguments.to
    if target.exists():
        raise ConfigError(f"{target} exists; choose another --to, or delete it.")
    description, variables, step = _load_trained(arguments.path, arguments.model)
    if target.suffix != FUNCTION:
        naming = arguments.naming or layouts.naming_of(variables)
        state_dict = names.to_state_dict(variables, naming=naming, step=step)
        files.write(target, state_dict)
        print(f"{len(state_dict)} tensors: {target}")
        return
    preprocessing = _preprocessing(description, arguments.input_shape)
    model = models.make(**description.model, num_classes=description.num_classes)
    exported = functions.export_function(model, variables, preprocessing)
    record = {
        **description._asdict(),
        "inputs": {
            name: {"shape": ["N", *shape], "dtype": dtype}
            for name, (shape, dtype) in preprocessing.inputs.items()
        },
        "outputs": {"logits": ["N", "K"], "probabilities": ["N", "K"], "features": ["N", "D"]},
        "preprocessing": preprocessing.constants,
        "platforms": functions.PLATFORMS,
        "step": step,
    }
    functions.write_function(target, exported, record)
    print(f"function of {', '.join(preprocessing.inputs)}: {target}")


def _load_trained(folder: Path, model_path: str = "") -> tuple[ModelDescription, Any, int]:
    """Loads a model's folder: its metadata, variables and step.

    Args:
        folder: The model's folder.
        model_path: The import path of the model's constructor, if the user passed one.

    Raises:
        ConfigError: If the folder holds no model, or one whose constructor lies outside the package
            and is not the one that the user passed: a file that was read must not choose code to
            run.
    """
    description = ModelDescription.read(folder)
    name = str(description.model.get("name"))
    if ":" in name and name != model_path:
        raise ConfigError(
            f"{folder} holds a model of {name}, outside this package; pass --model={name} to "
            "import and run that code."
        )
    model = models.make(**description.model, num_classes=description.num_classes)
    size = [length or 32 for length in description.input_shape[:-1]]
    shape = (1, *size, description.input_shape[-1] or 1)
    example = jnp.zeros(shape, catalog.input_dtype(model))
    variables, step = load_variables(folder, state.abstract_variables(model, example))
    return description, variables, step


def _preprocessing(
    description: ModelDescription, input_shape: Sequence[int] | None
) -> data.Preprocessing:
    """Rebuilds the model's preprocessing; none where an input shape is passed instead."""
    if description.preprocessing is not None and not input_shape:
        return data.preprocessing(description.preprocessing)
    shape = tuple(input_shape or description.input_shape)
    if not all(shape):
        raise ConfigError("these weights came without an input size; give --input-shape=H,W,C.")
    name = description.modality or "input"
    sizes = tuple(int(size or 0) for size in shape)
    return data.Preprocessing({name: (sizes, "float32")}, lambda raw: raw[name], {})


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    inspect_parser = actions.add_parser(
        "inspect", help="list the contents of a weights file or a model's folder"
    )
    inspect_parser.add_argument("path", type=Path, metavar="FILE|DIR")
    inspect_parser.set_defaults(action=inspect)

    import_parser = actions.add_parser(
        "import", help="make a teacher, or a model's start, of PyTorch weights"
    )
    _add_import_arguments(import_parser)
    import_parser.set_defaults(action=import_weights)

    export_parser = actions.add_parser(
        "export", help="write a trained model for PyTorch or other runtimes"
    )
    export_parser.add_argument(
        "path", type=Path, metavar="DIR", help="runs/demo/students/audio-to-image"
    )
    export_parser.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help=".pt, .safetensors or .stablehlo"
    )
    export_parser.add_argument(
        "--input-shape",
        type=lambda text: tuple(int(number) for number in text.split(",")),
        help="H,W,C: export to .stablehlo without preprocessing, for this input",
    )
    export_parser.set_defaults(action=export_model)

    for subparser in (inspect_parser, import_parser):
        subparser.add_argument("--entry", default="", help="key of the state dict in a .pt file")
    for subparser in (import_parser, export_parser):
        subparser.add_argument("--naming", choices=layouts.NAMINGS, help="naming of the tensors")
    for subparser in (inspect_parser, export_parser):
        subparser.add_argument(
            "--model", default="", help="import path of the constructor of a model of your own"
        )
    return parser


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        metavar="FILE|DIR",
        help=".pt, .pth or .safetensors, or a folder of huggingface/transformers",
    )
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--model", help="name of the backbone; identified by default")
    parser.add_argument("--depth", type=int, help="of a resnet: 18, 34, 50 or 101")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a further option of the backbone, such as pooling=mean; may be repeated",
    )
    parser.add_argument("--modality", default="", help="modality it reads, for the record")
    parser.add_argument(
        "--backbone",
        action="store_true",
        help="draw the classifier anew, and leave out other heads; so it is without a classifier",
    )
    parser.add_argument(
        "--partial", action="store_true", help="draw missing or misshapen parameters"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of what is drawn")
    parser.add_argument("--num-classes", type=int, help="number of classes, if not the file's")
    parser.add_argument(
        "--channels", type=int, help="input channels, if not the file's; with --partial"
    )
    parser.add_argument(
        "--one-channel",
        choices=get_args(imports.OneChannel),
        help="make a first layer for one channel: sum or mean over those of the file",
    )


if __name__ == "__main__":
    sys.exit(main())
