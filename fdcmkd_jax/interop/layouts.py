"""Names of layers in PyTorch: one function for each network, and the names of older files."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from fdcmkd_jax.registry import ConfigError
from fdcmkd_jax.types import Params

Naming = Literal["torchvision", "reproduction", "huggingface"]
NAMINGS: tuple[Naming, ...] = ("torchvision", "reproduction", "huggingface")

COUNTER = "num_batches_tracked"
_LEAVES: Mapping[str, Mapping[str, str]] = {
    "params": {"scale": "weight", "kernel": "weight", "embedding": "weight", "bias": "bias"},
    "batch_stats": {"mean": "running_mean", "var": "running_var", COUNTER: COUNTER},
}


def key_of(path: tuple[str, ...], naming: Naming) -> str:
    """Maps ``("params", "layer1_0", "bn1", "scale")`` to ``layer1.0.bn1.weight``.

    Raises:
        ConfigError: If the layer has no name in this naming.
    """
    collection, *modules, leaf = path
    module = _MODULES[naming]("/".join(modules))
    last = _LEAVES.get(collection, {}).get(leaf)
    if module is None or last is None:
        raise ConfigError(f"{'/'.join(path)} has no name in PyTorch under the naming {naming}.")
    return f"{module}.{last}"


def guess_naming(keys: Iterable[str]) -> Naming:
    """Returns the naming that the keys of a state dict follow."""
    for key in keys:
        if key.startswith("net."):
            return "reproduction"
        if key.startswith("embeddings."):
            return "huggingface"
    return "torchvision"


def naming_of(variables: Params) -> Naming:
    """Returns the usual naming of a model's variables."""
    return "huggingface" if "word_embeddings" in variables["params"] else "torchvision"


def modern_names(keys: Iterable[str]) -> dict[str, str]:
    """Returns the present name of each key: of older MobileNetV2 and BERT files, another one.

    Examples:
        >>> modern_names(["features.2.conv.0.weight", "features.2.conv.4.bias"]).values()
        dict_values(['features.2.conv.0.0.weight', 'features.2.conv.1.1.bias'])
        >>> modern_names(["bert.embeddings.LayerNorm.gamma"]).values()
        dict_values(['embeddings.LayerNorm.weight'])
    """
    known = list(keys)
    is_flat = any(re.search(r"features\.\d+\.conv\.0\.weight$", key) for key in known)
    names = {}
    for key in known:
        name = key.removeprefix("bert.")
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
        name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
        if is_flat:
            name = re.sub(r"features\.(\d+)\.conv\.(\d)\.", _nested_place, name)
            name = re.sub(r"^classifier\.(?=weight|bias)", "classifier.1.", name)
        names[key] = name
    return names


# The older layout counts a ReLU6 after each BatchNorm; the first block has no expansion.
_NESTED_FIRST = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
_NESTED = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}


def _nested_place(match: re.Match[str]) -> str:
    places = _NESTED_FIRST if match[1] == "1" else _NESTED
    return f"features.{match[1]}.conv.{places.get(match[2], match[2])}."


def _resnet(module: str) -> str | None:
    parts = []
    for part in module.split("/"):
        if re.fullmatch(r"layer\d+_\d+", part):
            parts.append(part.replace("_", "."))
        elif re.fullmatch(r"fc|(conv|bn)\d", part):
            parts.append(part)
        elif part in ("downsample_conv", "downsample_bn"):
            parts.append({"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}[part])
        else:
            return None
    return ".".join(parts)


def _mobilenet(module: str) -> str | None:
    if module == "classifier":
        return "classifier.1"
    ends = re.fullmatch(r"(stem|last)_(conv|bn)", module)
    if ends:
        return f"features.{ {'stem': 0, 'last': 18}[ends[1]] }.{ {'conv': 0, 'bn': 1}[ends[2]] }"
    inside = re.fullmatch(r"block(\d+)_(expand|depthwise|project)_(conv|bn)", module)
    if not inside:
        return None
    block, layer, kind = inside.groups()
    place = {"expand": 0, "depthwise": 1, "project": 2}[layer] - (block == "1")
    index = int(kind == "bn")
    if layer == "project":
        return f"features.{block}.conv.{place + index}"
    return f"features.{block}.conv.{place}.{index}"


_BERT = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embeddings": "embeddings.position_embeddings",
    "token_type_embeddings": "embeddings.token_type_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
    "pooler": "pooler.dense",
    "classifier": "classifier",
}


def _bert(module: str) -> str | None:
    layer, _, part = module.rpartition("/")
    if part not in _BERT or not re.fullmatch(r"(layer\d+)?", layer):
        return None
    return (f"encoder.layer.{layer[5:]}." if layer else "") + _BERT[part]


_DEEPLAB = {
    "project": "project",
    "aspp0": "aspp.convs.0",
    "aspp1": "aspp.convs.1",
    "aspp2": "aspp.convs.2",
    "aspp3": "aspp.convs.3",
    "pool": "aspp.convs.4",
    "aspp_project": "aspp.project",
    "decoder": "classifier",
}


def _deeplab(module: str) -> str | None:
    """Names a layer of a DeepLabV3+ as in VainF/DeepLabV3Plus-Pytorch."""
    part, _, inside = module.partition("/")
    if part == "backbone":
        name = _resnet(inside) or _mobilenet(inside)
        return name and backbone_key(name)
    if module == "classifier/last":
        return "classifier.classifier.3"
    layer, _, kind = inside.rpartition("_")
    if part != "classifier" or layer not in _DEEPLAB or kind not in ("conv", "bn"):
        return None
    # The pooled branch begins with the pooling.
    return f"classifier.{_DEEPLAB[layer]}.{(kind == 'bn') + (layer == 'pool')}"


def backbone_key(key: str) -> str:
    """Returns the name in a DeepLabV3+ of a key of a torchvision network.

    Examples:
        >>> backbone_key("layer1.0.conv1.weight"), backbone_key("features.4.conv.2.weight")
        ('backbone.layer1.0.conv1.weight', 'backbone.high_level_features.4.conv.2.weight')
    """
    match = re.match(r"features\.(\d+)\.", key)
    level = "" if match is None else "low_level_" if int(match[1]) < 4 else "high_level_"
    return f"backbone.{level}{key}"


def _torchvision(module: str) -> str | None:
    return _resnet(module) or _mobilenet(module) or _deeplab(module)


def _reproduction(module: str) -> str | None:
    name = _resnet(module)
    return "classifier" if name == "fc" else name and f"net.{name}"


_MODULES: Mapping[Naming, Callable[[str], str | None]] = {
    "torchvision": _torchvision,
    "reproduction": _reproduction,
    "huggingface": _bert,
}
