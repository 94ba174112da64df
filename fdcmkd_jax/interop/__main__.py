"""PyTorch weights in, trained students out.

    inspect FILE|DIR          what a weights file or a trained model's folder holds
    import FILE --to=DIR      a ResNet's PyTorch weights as a teacher or a student's start
    export DIR --to=FILE      a trained model as .pt, .safetensors or .stablehlo

A state dict may be named as torchvision's ResNets are (conv1.weight, ..., fc.weight) or as in
FD-CMKD's public code (net.conv1.weight, ..., classifier.weight). After an import

    python train.py --config=... --config.teacher.checkpoints.image=DIR     uses it as the teacher,
    python train.py --config=... --config.train.start_from.image=DIR        starts students from it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from fdcmkd_jax import models, plan
from fdcmkd_jax.checkpoint import Checkpoints, Description, load_weights
from fdcmkd_jax.data import Preprocessing
from fdcmkd_jax.interop import catalog, files, functions, names
from fdcmkd_jax.log import read_json
from fdcmkd_jax.tables import ConfigError

FUNCTION = ".stablehlo"


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the command line and does what it says."""
    arguments = _parser().parse_args(argv)
    logging.set_verbosity(logging.WARNING)
    try:
        arguments.action(arguments)
    except ConfigError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"cannot read or write {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def inspect(arguments: argparse.Namespace) -> None:
    """Prints what a file or folder holds."""
    path: Path = arguments.path
    if path.is_dir():
        description, variables, step = _trained(path)
        state = names.to_state_dict(variables, naming="torchvision", step=step)
        print(f"{description.model} for {description.modality or 'any modality'}, step {step}")
    else:
        state = files.read(path, entry=arguments.entry)
        naming = names.guess_naming(state)
        found = catalog.identify(state, naming=naming)
        channels, num_classes = catalog.sizes(state, naming=naming)
        print(f"{naming} names, {channels} input channels, {num_classes} classes")
        print(f"fits the model {dict(found)}" if found else "fits no known model whole")
    for key, value in state.items():
        print(f"  {key:44} {value.dtype!s:8} {list(value.shape)}")
    count = sum(value.size for key, value in state.items() if names.is_parameter(key))
    print(f"{count:,} parameters")


def import_weights(arguments: argparse.Namespace) -> None:
    """Makes a model's folder of a weights file."""
    target: Path = arguments.to
    if (target / "checkpoints").exists():
        raise ConfigError(f"{target} holds a model already; choose another --to, or delete it.")
    state = files.read(arguments.path, entry=arguments.entry)
    naming = arguments.naming or names.guess_naming(state)
    options = _options(arguments) or catalog.identify(state, naming=naming)
    if options is None:
        raise ConfigError(
            "the weights fit no known model whole; say which by --model (and --depth), and every "
            "difference will be listed."
        )
    channels, num_classes = catalog.sizes(state, naming=naming)
    channels = arguments.channels or channels
    num_classes = arguments.num_classes or num_classes
    model = models.make(**options, num_classes=num_classes)
    if arguments.partial:
        start = catalog.initial_variables(model, channels, seed=arguments.seed)
        differences = names.compare(state, start, naming=naming)
        variables = names.merge(state, start, naming=naming)
        if differences:
            print(f"drawn anew or left out:\n{differences}")
    else:
        like = catalog.abstract_variables(model, channels)
        variables = names.from_state_dict(state, like, naming=naming)
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), variables)
    with Checkpoints(target / "checkpoints") as checkpoints:
        checkpoints.save_weights(names.batches_seen(state), variables)
    Description(arguments.modality, options, num_classes, (None, None, channels)).write(target)
    print(f"{dict(options)}, {num_classes} classes, {channels} input channels: {target}")


def export_model(arguments: argparse.Namespace) -> None:
    """Writes a trained model in a form that others read; a method's heads stay behind."""
    target: Path = arguments.to
    if target.exists():
        raise ConfigError(f"{target} exists; choose another --to, or delete it.")
    description, variables, step = _trained(arguments.path)
    if target.suffix != FUNCTION:
        state = names.to_state_dict(variables, naming=arguments.naming or "torchvision", step=step)
        files.write(target, state)
        print(f"{len(state)} tensors: {target}")
        return
    preprocessing = _preprocessing(arguments.path, description, arguments.input_shape)
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


def _trained(folder: Path) -> tuple[Description, Any, int]:
    """What a model's folder holds: description, weights, step."""
    description = Description.read(folder)
    model = models.make(**description.model, num_classes=description.num_classes)
    like = catalog.abstract_variables(model, description.input_shape[-1] or 1)
    variables, step = load_weights(folder, like)
    return description, variables, step


def _preprocessing(
    folder: Path, description: Description, input_shape: Sequence[int] | None
) -> Preprocessing:
    """The run's own preprocessing; none for weights that came from elsewhere."""
    run = folder.absolute().parents[1]
    if (run / "config.json").is_file():
        settings = read_json(run / "config.json")
        known = plan.build(settings, run).dataset.preprocessing
        if description.modality in known:
            return known[description.modality]
    shape = tuple(input_shape or description.input_shape)
    if not all(shape):
        raise ConfigError("these weights came without an input size; give --input-shape=H,W,C.")
    name = description.modality or "input"
    whole = tuple(int(size or 0) for size in shape)
    return Preprocessing({name: (whole, "float32")}, lambda raw: raw[name], {})


def _options(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The model's config section from the flags; None if they name none."""
    if not arguments.model:
        return None
    return {"name": arguments.model} | ({"depth": arguments.depth} if arguments.depth else {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fdcmkd_jax.interop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    look = actions.add_parser("inspect", help="what a weights file or a model's folder holds")
    look.add_argument("path", type=Path, metavar="FILE|DIR")
    look.set_defaults(action=inspect)

    take = actions.add_parser("import", help="PyTorch weights as a teacher or a student's start")
    take.add_argument("path", type=Path, metavar="FILE", help=".pt, .pth or .safetensors")
    take.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to make")
    take.add_argument("--model", help="backbone, resnet or resnet_tiny; by default guessed")
    take.add_argument("--depth", type=int, help="of a resnet: 18, 34 or 50")
    take.add_argument("--modality", default="", help="what it reads, for the record")
    take.add_argument("--partial", action="store_true", help="draw what is missing or misshapen")
    take.add_argument("--seed", type=int, default=0, help="of what --partial draws")
    take.add_argument("--num-classes", type=int, help="another K than the file's; with --partial")
    take.add_argument("--channels", type=int, help="other input channels; with --partial")
    take.set_defaults(action=import_weights)

    give = actions.add_parser("export", help="a trained model for PyTorch or anyone else")
    give.add_argument("path", type=Path, metavar="DIR", help="runs/demo/students/audio-to-image")
    give.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help=".pt, .safetensors or .stablehlo"
    )
    give.add_argument(
        "--input-shape",
        type=lambda text: tuple(int(number) for number in text.split(",")),
        help="H,W,C for .stablehlo of weights that were imported",
    )
    give.set_defaults(action=export_model)

    for each in (look, take):
        each.add_argument("--entry", default="", help="which entry of a .pt file of several")
    for each in (take, give):
        each.add_argument("--naming", choices=names.NAMINGS, help="how the tensors are named")
    return parser


if __name__ == "__main__":
    main()
