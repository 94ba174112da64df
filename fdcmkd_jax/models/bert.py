"""BERT, for token ids of texts."""

import functools
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from fdcmkd_jax.models.dtypes import float_dtype
from fdcmkd_jax.registry import check_choice
from fdcmkd_jax.types import Outputs, at_least_float32

PADDING = 0
"""The id of the padding token."""

Pooling = Literal["cls", "mean"]
Features = Literal["pooled", "tokens"]

_normal = nn.initializers.normal(0.02)


class Layer(nn.Module):
    """A transformer layer: attention, then two dense layers, each added and normalized.

    Attributes:
        heads: Number of attention heads.
        mlp_width: Width between the two dense layers.
        dropout: Share of attention weights and of activations dropped in training.
        dtype: Dtype of the activations.
    """

    heads: int
    mlp_width: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, *, mask: Array, train: bool) -> Array:
        """Maps ``[N, L, D]`` to the same shape; ``mask [N, 1, 1, L]`` marks the tokens read."""
        width = x.shape[-1]
        dense = functools.partial(nn.Dense, kernel_init=_normal, dtype=self.dtype)
        drop = functools.partial(nn.Dropout, self.dropout, deterministic=not train)
        query, key, value = (
            dense(width, name=name)(x).reshape(*x.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        attended = nn.dot_product_attention(
            query,
            key,
            value,
            mask=mask,
            broadcast_dropout=False,
            dropout_rng=self.make_rng("dropout") if train and self.dropout else None,
            dropout_rate=self.dropout,
            deterministic=not train,
            dtype=self.dtype,
        ).reshape(x.shape)
        attended = dense(width, name="attention_output")(attended)
        x = layer_norm("attention_norm", self.dtype)(x + drop()(attended))
        hidden = nn.gelu(dense(self.mlp_width, name="intermediate")(x), approximate=False)
        hidden = dense(width, name="output")(hidden)
        return layer_norm("output_norm", self.dtype)(x + drop()(hidden))


def layer_norm(name: str, dtype: DTypeLike) -> nn.LayerNorm:
    """Makes BERT's layer normalization."""
    # The fast variance, E[x^2] - E[x]^2, costs digits.
    return nn.LayerNorm(epsilon=1e-12, use_fast_variance=False, dtype=dtype, name=name)


class Bert(nn.Module):
    """BERT with a classifier, which also returns its features.

    Attributes:
        num_classes: K.
        width: D, of the tokens.
        depth: Number of layers.
        heads: Number of attention heads.
        mlp_width: Width inside a layer.
        vocab_size: Number of token ids.
        max_length: Largest number of tokens of a text.
        dropout: Share dropped in training, everywhere that BERT drops.
        pooling: See `bert`.
        features: See `bert`.
        dtype: Dtype of the activations; parameters, features and logits stay float32.

    Source: arXiv 1810.04805; names, initialization and constants as in huggingface/transformers.
    """

    num_classes: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    vocab_size: int
    max_length: int
    dropout: float
    pooling: Pooling
    features: Features
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Int[Array, "N L"], *, train: bool, mask: Bool[Array, " N"] | None = None
    ) -> Outputs:
        """Runs the network.

        Args:
            x: Token ids, shape ``[N, L]``; 0 is padding, which is neither read nor pooled.
            train: Drop activations, which takes a key named ``dropout``.
            mask: Not used: nothing is shared between the rows of a batch.

        Returns:
            `Outputs`; see `bert` for the features.

        Raises:
            ValueError: If L is more than ``max_length``.
        """
        del mask
        if x.shape[1] > self.max_length:
            raise ValueError(f"BERT reads {self.max_length} tokens at most, got {x.shape[1]}.")
        embed = functools.partial(
            nn.Embed, features=self.width, embedding_init=_normal, dtype=self.dtype
        )
        drop = functools.partial(nn.Dropout, self.dropout, deterministic=not train)
        positions = embed(self.max_length, name="position_embeddings")(jnp.arange(x.shape[1]))
        # Single texts: every token is of type 0.
        types = embed(2, name="token_type_embeddings")(jnp.zeros(1, jnp.int32))
        hidden = embed(self.vocab_size, name="word_embeddings")(x) + (positions + types)[None]
        hidden = drop()(layer_norm("embeddings_norm", self.dtype)(hidden))
        is_token = x != PADDING
        for index in range(self.depth):
            layer = Layer(
                self.heads, self.mlp_width, self.dropout, self.dtype, name=f"layer{index}"
            )
            hidden = layer(hidden, mask=is_token[:, None, None, :], train=train)
        hidden = at_least_float32(hidden)
        if self.features == "tokens":
            hidden = jnp.where(is_token[..., None], hidden, 0)
            hidden = hidden + self.perturb("features", jnp.zeros_like(hidden))
        pooled = self._pool(hidden, is_token)
        if self.features == "pooled":
            pooled = pooled + self.perturb("features", jnp.zeros_like(pooled))
        active = jnp.tanh(pooled) if self.pooling == "cls" else pooled
        logits = nn.Dense(
            self.num_classes, kernel_init=_normal, dtype=hidden.dtype, name="classifier"
        )(drop()(active))
        return Outputs(logits=logits, features=hidden if self.features == "tokens" else pooled)

    def _pool(self, hidden: Array, is_token: Array) -> Float[Array, "N D"]:
        if self.pooling == "cls":
            dense = nn.Dense(self.width, kernel_init=_normal, dtype=hidden.dtype, name="pooler")
            return dense(hidden[:, 0])
        counted = is_token[..., None].astype(hidden.dtype)
        return jnp.sum(hidden * counted, axis=1) / jnp.maximum(jnp.sum(counted, axis=1), 1)


def bert(
    num_classes: int,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    mlp_width: int = 0,
    vocab_size: int = 30_522,
    max_length: int = 512,
    dropout: float = 0.1,
    pooling: Pooling = "cls",
    features: Features = "pooled",
    dtype: str = "float32",
) -> Bert:
    """Makes a BERT for token ids ``[N, L]`` in which 0 is padding; BERT-base by default.

    BERT-small has width 512, depth 4 and 8 heads; MiniLM-L6 has width 384, depth 6 and 12 heads.

    Args:
        num_classes: K.
        width: D, of the tokens; a multiple of ``heads``.
        depth: Number of layers.
        heads: Number of attention heads.
        mlp_width: Width inside a layer; 0 for four times the width.
        vocab_size: Number of token ids.
        max_length: Largest number of tokens of a text.
        dropout: Share of attention weights, of activations, and of the classifier's input that is
            dropped in training; in [0, 1).
        pooling: Vector of a text: ``"cls"``, a dense layer on the first token, which the classifier
            reads after a tanh; ``"mean"``, the mean over the tokens, which it reads as it is.
        features: ``"pooled"``, that vector ``[N, D]``, of ``"cls"`` before the tanh; ``"tokens"``,
            the last layer ``[N, L, D]``, zero at padding.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float64"`` (where JAX has it switched on), of the
            activations.

    Raises:
        ValueError: If a number is out of range or a choice is unknown.

    Source: arXiv 1810.04805; BERT-small from arXiv 1908.08962.
    """
    check_choice("pooling", pooling, Pooling)
    check_choice("features", features, Features)
    sizes = {
        "width": width,
        "depth": depth,
        "heads": heads,
        "vocab_size": vocab_size,
        "max_length": max_length,
    }
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be positive, got {value}.")
    if width % heads or mlp_width < 0 or not 0 <= dropout < 1:
        raise ValueError(
            "width must be a multiple of heads, mlp_width not negative and dropout in [0, 1), got "
            f"width {width}, heads {heads}, mlp_width {mlp_width} and dropout {dropout}."
        )
    return Bert(
        num_classes=num_classes,
        width=width,
        depth=depth,
        heads=heads,
        vocab_size=vocab_size,
        max_length=max_length,
        mlp_width=mlp_width or 4 * width,
        dropout=dropout,
        pooling=pooling,
        features=features,
        dtype=float_dtype(dtype),
    )
