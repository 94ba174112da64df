"""Import of pretrained weights: from a file, or from a folder of huggingface/transformers."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from fdcmkd_jax import models
from fdcmkd_jax.interop import catalog, files, layouts, names
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training.checkpoint import Checkpoints
from fdcmkd_jax.training.description import ModelDescription
from fdcmkd_jax.training.log import read_json
from fdcmkd_jax.types import Params

TOKENIZER = "tokenizer.json"
REPORT = "import.txt"

OneChannel = Literal["sum", "mean"]


class Weights(NamedTuple):
    """Weights as they were found.

    Attributes:
        state: Arrays by present key; see `names.renamed`.
        options: The config section that a ``config.json`` describes; None without one.
        tokenizer: The file of the tokenizer; None without one.
    """

    state: names.StateDict
    options: Mapping[str, Any] | None = None
    tokenizer: Path | None = None


class Request(NamedTuple):
    """Choices of an import.

    Attributes:
        options: The model's config section, or a part of it; empty to identify the model.
        naming: Naming of the keys; empty to guess it.
        num_classes: K; 0 for that of the file.
        channels: Input channels; 0 for those of the file.
        one_channel: Makes a first layer for one channel of one for several: their ``"sum"`` or
            ``"mean"``. Empty for neither.
        backbone: Draw the classifier anew, and leave out further heads.
        partial: Draw every parameter that is missing or misshapen.
        seed: Seed of what is drawn.
    """

    options: Mapping[str, Any] = {}
    naming: str = ""
    num_classes: int = 0
    channels: int = 0
    one_channel: str = ""
    backbone: bool = False
    partial: bool = False
    seed: int = 0


class Imported(NamedTuple):
    """A model made of weights.

    Attributes:
        options: Its config section.
        num_classes: K.
        channels: Input channels; 0 for token ids.
        variables: ``{"params", "batch_stats"}``, float32, on the host.
        fates: By key, whether it was loaded, drawn or left out.
        step: Number of batches seen.
    """

    options: Mapping[str, Any]
    num_classes: int
    channels: int
    variables: Params
    fates: Mapping[str, str]
    step: int

    def report(self) -> Iterator[str]:
        """Yields a line for every key."""
        width = max(map(len, self.fates.values()))
        yield from (f"{fate:{width}}  {key}" for key, fate in self.fates.items())


def find_weights(path: Path, *, entry: str = "") -> Weights:
    """Reads a weights file, or a folder with ``config.json`` and ``model.safetensors``.

    Raises:
        ConfigError: If a file is missing or cannot be read, or is of an unknown network.
    """
    if not path.is_dir():
        return Weights(names.renamed(files.read(path, entry=entry)))
    config = path / "config.json"
    if not config.is_file():
        raise ConfigError(f"{path} holds no config.json; pass a weights file instead.")
    options = catalog.options_of(read_json(config), config)
    state = names.renamed(files.read(path / "model.safetensors", entry=entry))
    tokenizer = path / TOKENIZER
    return Weights(state, options, tokenizer if tokenizer.is_file() else None)


def convert(weights: Weights, request: Request) -> Imported:
    """Makes a model of weights.

    Raises:
        ConfigError: If the model is not identified, the number of classes is not known, or keys or
            shapes differ in more than was allowed; every difference is listed then.
    """
    state = dict(weights.state)
    name = {**(weights.options or {}), **request.options}.get("name")
    if name == "deeplab_v3_plus" and not any(key.startswith("backbone.") for key in state):
        state = {layouts.backbone_key(key): value for key, value in state.items()}
    naming: Any = request.naming or layouts.guess_naming(state)
    family = catalog.family_of(state, naming=naming)
    channels, num_classes = catalog.sizes(state, naming=naming)
    options = {**(weights.options or {}), **request.options}
    options = options if "name" in options else {**(_identify(state, naming)), **options}
    backbone = request.backbone or not num_classes
    num_classes = request.num_classes or num_classes
    if not num_classes:
        raise ConfigError("the weights have no classifier; give the number of classes to draw one.")
    fates = dict.fromkeys(state, "loaded")
    if request.one_channel and channels > 1:
        reduce = np.mean if request.one_channel == "mean" else np.sum
        state[family.stem] = reduce(state[family.stem], axis=1, keepdims=True)
        fates[family.stem] = f"{request.one_channel} over {channels} channels"
        channels = 1
    channels = request.channels or channels
    model = models.make(**options, num_classes=num_classes)
    like = catalog.abstract_variables(model, channels)
    mismatch = names.compare(state, like, naming=naming)
    refused = catalog.backbone_mismatch(mismatch, family) if backbone else mismatch
    if refused and not request.partial:
        raise names.MismatchError(f"the weights do not fit the model:\n{refused}")
    fates |= dict.fromkeys(mismatch.unexpected, "left out")
    fates |= dict.fromkeys(mismatch.missing, "drawn: missing")
    fates |= {
        key: f"drawn: {list(shape)} in the file, expected {list(expected)}"
        for key, (shape, expected) in mismatch.misshapen.items()
    }
    drawn = {*mismatch.missing, *mismatch.misshapen}
    if drawn:
        like = catalog.initial_variables(
            model,
            channels,
            seed=request.seed,
            wanted=lambda path: layouts.key_of(path, naming) in drawn,
        )
    variables = names.merge(state, like, naming=naming)
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), variables)
    return Imported(options, num_classes, channels, variables, fates, names.batches_seen(state))


def save(imported: Imported, target: Path, *, modality: str, tokenizer: Path | None) -> None:
    """Writes a model's folder: checkpoint, ``model.json``, the report, and the tokenizer."""
    with Checkpoints(target / "checkpoints") as checkpoints:
        checkpoints.save_variables(imported.step, imported.variables)
    shape = (None, None, imported.channels) if imported.channels else (None,)
    ModelDescription(modality, imported.options, imported.num_classes, shape).write(target)
    (target / REPORT).write_text("\n".join(imported.report()) + "\n", encoding="utf-8")
    if tokenizer is not None:
        shutil.copyfile(tokenizer, target / TOKENIZER)


def _identify(state: names.StateDict, naming: Any) -> Mapping[str, Any]:
    options = catalog.identify(state, naming=naming)
    if options is None:
        raise ConfigError(
            "the weights fit no known model; name one by --model (and --option) to list every "
            "difference. A BERT is imported from the folder of its config.json."
        )
    return options
