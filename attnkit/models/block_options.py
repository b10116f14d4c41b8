"""Options and builders that networks made of blocks share."""

import dataclasses
from typing import Annotated

import jax
from annotated_types import Ge, Gt, Lt
from flax import nnx

from attnkit.layers.block import Gate, Order
from attnkit.layers.build import Width
from attnkit.layers.canon import Canon
from attnkit.layers.depth_attention import Below
from attnkit.layers.embedding import Absolute, Embedding, SourceAbsolute
from attnkit.layers.feed_forward import Activation
from attnkit.layers.norm import EPSILON, NormKind
from attnkit.layers.source_encoder import SourceEncoder
from attnkit.layers.stack import Remat, Style, make_stack
from attnkit.models.contract import Batch, Model, Sizes
from attnkit.option_class import options
from attnkit.token_mixer import TokenMixer

Mixers = TokenMixer | tuple[TokenMixer, ...]


@options
class Blocks(Model):
    """Options of all networks made of blocks.

    Attributes:
        model_dim: width of a token's vector.
        heads: number of query heads, a divisor of `model_dim`.
        kv_heads: number of key-value heads, a divisor of `heads`; `None` for as many as heads.
        mlp_ratio: hidden width of the feed-forward part divided by `model_dim`; 0 for blocks without.
        activation: nonlinearity of the feed-forward part; `swiglu` and `geglu` have a gate.
        norm: kind of norm.
        order: norm before (`pre`) or after (`post`) each part.
        below: what each part reads of the parts below it: the `sum` of their outputs (residual connections),
            or `attention` over them, by a query of its own (Attention Residuals, arXiv 2603.15031).
        short_convolution: tokens of a depthwise convolution before every mixer; 0 for none.
        canon: places of every block that have a Canon layer, `x` plus a depthwise convolution of 4 tokens
            (Allen-Zhu 2025, arXiv 2512.17351): `A` before the mixer, `B` on queries, keys and values of plain
            attention, `C` before the feed-forward part, `D` on its hidden units before the nonlinearity.
        dropout: probability of residual and embedding dropout.
        norm_epsilon: what a norm adds to the variance.
        attention_bias: whether queries, keys, values and outputs of plain attention have biases.
        remat: what the gradient of a block computes again to save memory: nothing, all but the results of
            matrix products with parameters (`dots`), or all (`block`). The numbers stay the same.
    """

    model_dim: Annotated[int, Ge(1)] = 128
    heads: Annotated[int, Ge(1)] = 4
    kv_heads: Annotated[int, Ge(1)] | None = None
    mlp_ratio: Annotated[float, Ge(0.0)] = 4.0
    activation: Activation = "gelu"
    norm: NormKind = "layer"
    order: Order = "pre"
    below: Below = "sum"
    short_convolution: Annotated[int, Ge(0)] = 0
    canon: Canon = "none"
    dropout: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    norm_epsilon: Annotated[float, Gt(0.0)] = EPSILON
    attention_bias: bool = False
    remat: Remat = "none"

    def __post_init__(self) -> None:
        if self.short_convolution and "A" in self.canon:
            raise ValueError(
                f"canon = {self.canon!r}: A and short_convolution = {self.short_convolution} are both before "
                "the mixer; leave one of them out"
            )
        if not self.mlp_ratio and {*self.canon} & {*"CD"}:
            raise ValueError(
                f"canon = {self.canon!r}: C and D are in the feed-forward part, and mlp_ratio = 0 means none"
            )

    def style(self, gate: Gate = "none") -> Style:
        """Options of all blocks of a stack."""
        return Style(
            width=Width.of(self.model_dim, self.heads, self.kv_heads, self.attention_bias),
            mlp_ratio=self.mlp_ratio,
            activation=self.activation,
            norm=self.norm,
            order=self.order,
            below=self.below,
            dropout=self.dropout,
            short_convolution=self.short_convolution,
            canon=self.canon,
            gate=gate,
            remat=self.remat,
            epsilon=self.norm_epsilon,
        )

    def decoder_embedding(self, sizes: Sizes, absolute: Absolute, rngs: nnx.Rngs) -> Embedding:
        """The embedding of a decoder's inputs."""
        return Embedding(
            sizes.vocabulary,
            self.model_dim,
            absolute=absolute,
            length=sizes.length,
            features=sizes.features,
            rngs=rngs,
        )

    def source_encoder(
        self,
        sizes: Sizes,
        depth: int,
        mixer: Mixers,
        *,
        absolute: SourceAbsolute,
        segment_vectors: bool = False,
        rngs: nnx.Rngs,
    ) -> SourceEncoder:
        """Embedding and blocks for the source. Raises `ValueError` if the task has none."""
        need_source(type(self).__name__, sizes)
        if segment_vectors:
            need_segments("segment_vectors = True", sizes)
        embedding = Embedding(
            sizes.source_vocabulary,
            self.model_dim,
            absolute=absolute,
            length=sizes.source_length,
            features=sizes.source_features,
            segments=sizes.segments if segment_vectors else 0,
            grid=sizes.grid,
            rngs=rngs,
        )
        stack = make_stack(depth, self.style(), mixer, padded=True, encoder=True, rngs=rngs)
        return SourceEncoder(embedding, stack, rate=self.dropout)


def need_source(name: str, sizes: Sizes) -> None:
    """Raise `ValueError` if a task has nothing for an encoder to read."""
    if not (sizes.source_length and (sizes.source_vocabulary or sizes.source_features)):
        raise ValueError(
            f"{name} needs a task with a source, but sizes = {sizes}; use a decoder for this task"
        )


def need_segments(what: str, sizes: Sizes) -> None:
    """Raise `ValueError` if the source of a task has no sentences or turns."""
    if not sizes.segments:
        raise ValueError(f"{what} needs a task whose source has sentences or turns, but sizes.segments = 0")


def refuse_pairs(batch: Batch) -> None:
    """Raise `ValueError` if the task gives groups of pairs."""
    if "input_length" in batch:
        raise ValueError("the task gives groups of pairs; use two_tower for this task")


def target(batch: Batch) -> jax.Array:
    """Inputs of a decoder: tokens or vectors of numbers."""
    refuse_pairs(batch)
    return batch["features"] if "features" in batch else batch["inputs"]


def source(batch: Batch) -> jax.Array:
    """Inputs of an encoder: tokens or vectors of numbers."""
    refuse_pairs(batch)
    return sources(batch)


def sources(batch: Batch) -> jax.Array:
    """The same of an example or of a group of pairs."""
    return batch["source_features"] if "source_features" in batch else batch["source"]


def target_as_source(sizes: Sizes) -> Sizes:
    """Sizes for an encoder of what a decoder would read."""
    return dataclasses.replace(
        sizes,
        source_vocabulary=sizes.vocabulary,
        source_length=sizes.length,
        source_features=sizes.features,
        segments=0,
        grid=None,
    )
