"""Identification of the backbone that a state dict belongs to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from fdcmkd_jax import models
from fdcmkd_jax.interop.layouts import Naming
from fdcmkd_jax.interop.names import Mismatch, compare
from fdcmkd_jax.models.bert import Bert
from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.training import state


class Family(NamedTuple):
    """Backbones whose state dicts have the same keys at both ends.

    Attributes:
        name: For messages.
        stem: Key of the first layer's weight.
        classifier: Start of the classifier's keys.
        last: Key of the weight of the layer that ends in the classes.
        heads: Starts of further keys that a backbone can do without.
        known: The config sections of its members.
    """

    name: str
    stem: str
    classifier: str
    last: str
    heads: tuple[str, ...] = ()
    known: Sequence[Mapping[str, Any]] = ()


_RESNETS: tuple[Mapping[str, Any], ...] = (
    {"name": "resnet_tiny"},
    *({"name": "resnet", "depth": depth} for depth in (18, 34, 50, 101)),
)
_MOBILENETS: tuple[Mapping[str, Any], ...] = (
    {"name": "mobilenet_v2"},
    *({"name": "mobilenet_v2", "width": width} for width in (1.4, 0.75, 0.5, 0.35)),
)
_BERT_HEADS = ("cls.", "qa_outputs.", "pooler.")
_DEEPLABS: tuple[Mapping[str, Any], ...] = tuple(
    {"name": "deeplab_v3_plus", "backbone": backbone}
    for backbone in ("resnet18", "resnet50", "resnet101", "mobilenet_v2")
)
_DEEPLAB_HEADS = ("backbone.fc.", "backbone.high_level_features.18.", "backbone.classifier.")
RESNET = Family("ResNet", "conv1.weight", "fc.", "fc.weight", known=_RESNETS)
RESNET_REPRODUCTION = Family(
    "ResNet", "net.conv1.weight", "classifier.", "classifier.weight", known=_RESNETS
)
MOBILENET = Family(
    *("MobileNetV2", "features.0.0.weight", "classifier.", "classifier.1.weight"),
    known=_MOBILENETS,
)
BERT = Family(
    *("BERT", "embeddings.word_embeddings.weight", "classifier.", "classifier.weight"), _BERT_HEADS
)
DEEPLAB = Family(
    *("DeepLabV3+", "backbone.conv1.weight", "classifier.", "classifier.classifier.3.weight"),
    *(_DEEPLAB_HEADS, _DEEPLABS),
)
DEEPLAB_MOBILENET = DEEPLAB._replace(stem="backbone.low_level_features.0.0.weight")


def family_of(state: Mapping[str, np.ndarray], *, naming: Naming) -> Family:
    """Returns the family of a state dict whose keys are the present ones."""
    if naming == "huggingface":
        return BERT
    if naming == "reproduction":
        return RESNET_REPRODUCTION
    if any(key.startswith("backbone.") for key in state):
        return DEEPLAB_MOBILENET if DEEPLAB_MOBILENET.stem in state else DEEPLAB
    return MOBILENET if any(key.startswith("features.") for key in state) else RESNET


def sizes(state: Mapping[str, np.ndarray], *, naming: Naming) -> tuple[int, int]:
    """Reads the number of input channels and of classes off a state dict.

    Returns:
        Channels, 0 for token ids; and classes, 0 if there is no classifier.

    Raises:
        ConfigError: If the first layer is missing or misshapen.
    """
    family = family_of(state, naming=naming)
    rank = 2 if family is BERT else 4
    if family.stem not in state or state[family.stem].ndim != rank:
        raise ConfigError(
            f"{family.stem} is missing or misshapen; a {family.name} named by {naming} has it."
        )
    num_classes = state[family.last].shape[0] if family.last in state else 0
    return 0 if family is BERT else state[family.stem].shape[1], num_classes


def input_dtype(model: nn.Module) -> Any:
    """Returns the dtype of a backbone's input."""
    return jnp.int32 if isinstance(model, Bert) else jnp.float32


def example(model: nn.Module, channels: int) -> Array:
    """Returns an input for a backbone: shapes of parameters do not depend on H, W and L."""
    shape = (1, 8) if isinstance(model, Bert) else (1, 32, 32, channels)
    return jnp.zeros(shape, input_dtype(model))


def abstract_variables(model: nn.Module, channels: int) -> dict[str, Any]:
    """Returns the shapes of a model's parameters and statistics."""
    return state.abstract_variables(model, example(model, channels))


def initial_variables(
    model: nn.Module,
    channels: int,
    *,
    seed: int,
    wanted: Callable[[tuple[str, ...]], bool] = lambda path: True,
) -> dict[str, Any]:
    """Draws a model's parameters and statistics.

    Args:
        model: The backbone.
        channels: Input channels.
        seed: Seed of the draw.
        wanted: Selects arrays by their path, ``("params", "fc", "kernel")``; the others stay
            abstract. To draw a few compiles much faster.
    """

    def is_wanted(path: Any) -> bool:
        return wanted(tuple(part.key for part in path))

    def draw(key: Array) -> list[Array]:
        variables = model.init(key, example(model, channels), train=False)
        drawn = {name: variables.get(name, {}) for name in ("params", "batch_stats")}
        return [x for path, x in jax.tree_util.tree_leaves_with_path(drawn) if is_wanted(path)]

    # Compiled: layer by layer it takes several times as long.
    arrays = iter(jax.jit(draw)(jax.random.key(seed)))
    return jax.tree_util.tree_map_with_path(
        lambda path, x: next(arrays) if is_wanted(path) else x, abstract_variables(model, channels)
    )


def identify(state: Mapping[str, np.ndarray], *, naming: Naming) -> Mapping[str, Any] | None:
    """Returns the config section of the backbone whose keys and shapes match; None if none does.

    A missing classifier, and heads that no backbone has, do not matter. The tensors of a BERT do
    not tell its number of heads: it is identified by the ``config.json`` beside them alone.
    """
    channels, num_classes = sizes(state, naming=naming)
    family = family_of(state, naming=naming)
    for options in family.known:
        model = models.make(**options, num_classes=num_classes or 2)
        mismatch = compare(state, abstract_variables(model, channels), naming=naming)
        if not backbone_mismatch(mismatch, family):
            return options
    return None


def backbone_mismatch(mismatch: Mismatch, family: Family) -> Mismatch:
    """Returns the differences but for the classifier and heads that the backbone does not have."""
    heads = (family.classifier, *family.heads)
    return Mismatch(
        missing=tuple(key for key in mismatch.missing if not key.startswith(family.classifier)),
        unexpected=tuple(key for key in mismatch.unexpected if not key.startswith(heads)),
        misshapen={
            key: shapes
            for key, shapes in mismatch.misshapen.items()
            if not key.startswith(family.classifier)
        },
    )


def options_of(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Converts the ``config.json`` of a BERT in huggingface/transformers to a config section.

    Args:
        config: Its contents.
        path: The file, for messages.

    Raises:
        ConfigError: If it is of another network, or of a variant that differs from BERT's.
    """
    for key, expected in _BERT_CONSTANTS.items():
        if config.get(key, expected) != expected:
            raise ConfigError(f"{path}: {key} is {config[key]!r}; only {expected!r} is supported.")
    missing = [key for key in _BERT_OPTIONS.values() if key not in config]
    if missing:
        raise ConfigError(f"{path} lacks {missing[0]!r}; expected the config.json of a BERT.")
    return {"name": "bert", **{option: config[key] for option, key in _BERT_OPTIONS.items()}}


_BERT_CONSTANTS = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "is_decoder": False,
}
_BERT_OPTIONS = {
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "vocab_size": "vocab_size",
    "max_length": "max_position_embeddings",
}
