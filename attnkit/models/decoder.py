"""A decoder-only Transformer: a language model."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from flax import nnx

from attnkit.layers.block import Order
from attnkit.layers.causality import refuse_future
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.embedding import Absolute, Embedding, Readout
from attnkit.layers.feed_forward import Activation
from attnkit.layers.mixer_layer import Width
from attnkit.layers.norm import NormKind
from attnkit.layers.stack import Style, make_stack
from attnkit.masks.causal import Causal
from attnkit.mixer import Mixer
from attnkit.models.contract import Batch, Model, Network, Output, Sizes
from attnkit.options import options
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention


@options
class Decoder(Model):
    """Causal blocks between an embedding and a readout.

    Attributes:
        depth: number of blocks.
        model_dim: width of a token's vector.
        heads: number of query heads, a divisor of `model_dim`.
        kv_heads: number of key-value heads, a divisor of `heads`; `None` for as many as heads.
        mlp_ratio: hidden width of the feed-forward part divided by `model_dim`.
        activation: nonlinearity of the feed-forward part.
        mixer: what mixes positions, or a pattern of mixers that is repeated over depth.
        norm: kind of norm.
        order: norm before (`pre`) or after (`post`) each part.
        absolute: absolute position vectors added to the embedding.
        dropout: probability of residual and embedding dropout.
        tied: whether the readout uses the embedding table.

    Source: Vaswani et al. 2017, arXiv 1706.03762; decoder-only Liu et al. 2018, arXiv 1801.10198.
    """

    depth: Annotated[int, Ge(1)] = 4
    model_dim: Annotated[int, Ge(1)] = 128
    heads: Annotated[int, Ge(1)] = 4
    kv_heads: Annotated[int, Ge(1)] | None = None
    mlp_ratio: Annotated[float, Gt(0.0)] = 4.0
    activation: Activation = "gelu"
    mixer: Mixer | tuple[Mixer, ...] = Attention(position=(Rotary(),), mask=Causal())
    norm: NormKind = "layer"
    order: Order = "pre"
    absolute: Absolute = "none"
    dropout: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    tied: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "DecoderNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return DecoderNetwork(self, sizes, rngs)


class DecoderNetwork(Network):
    """The network of `Decoder`. Weights are named `decoder.<block>.self`."""

    def __init__(self, chosen: Decoder, sizes: Sizes, rngs: nnx.Rngs) -> None:
        refuse_future("mixer", chosen.mixer)
        style = Style(
            width=Width.of(chosen.model_dim, chosen.heads, chosen.kv_heads),
            mlp_ratio=chosen.mlp_ratio,
            activation=chosen.activation,
            norm=chosen.norm,
            order=chosen.order,
            dropout=chosen.dropout,
        )
        self.embedding = Embedding(
            sizes.vocabulary, chosen.model_dim, absolute=chosen.absolute, length=sizes.length, rngs=rngs
        )
        self.stack = make_stack(chosen.depth, style, chosen.mixer, rngs=rngs)
        self.readout = Readout(chosen.model_dim, sizes.vocabulary, tied=chosen.tied, rngs=rngs)
        self.dropout = chosen.dropout

    def __call__(self, batch: Batch, *, key: jax.Array | None = None, look: bool = False) -> Output:
        k = keys(key, 2)
        x = dropout(self.embedding(batch["inputs"]), self.dropout, k[0])
        x, maps = self.stack(x, key=k[1], look=look)
        named = {f"decoder.{name}": own for name, own in maps.items()}
        return Output(self.readout(x, self.embedding), named)

    def start(self, batch: Batch, length: int) -> Any:
        rows = batch["inputs"].shape[0]
        blocks = self.stack.start(rows, length, self.embedding.dtype)
        return {"blocks": blocks, "position": jnp.zeros(rows, jnp.int32)}

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        x = self.embedding(tokens, state["position"])
        x, blocks = self.stack.step(x, state["blocks"])
        after = {"blocks": blocks, "position": state["position"] + tokens.shape[1]}
        return self.readout(x, self.embedding), after
