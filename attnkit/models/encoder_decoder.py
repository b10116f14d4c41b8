"""An encoder-decoder Transformer: sequence to sequence."""

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
from attnkit.masks.padding import Padding
from attnkit.mixer import Mixer
from attnkit.models.contract import Batch, Maps, Model, Network, Output, Sizes
from attnkit.options import options
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention


@options
class EncoderDecoder(Model):
    """An encoder that reads the source, and a causal decoder that attends to what the encoder made of it.

    Source tokens at `source_length` and beyond do not exist for any query, whatever mask a mixer has.

    Attributes:
        encoder_depth: number of encoder blocks.
        decoder_depth: number of decoder blocks.
        model_dim: width of a token's vector.
        heads: number of query heads, a divisor of `model_dim`.
        kv_heads: number of key-value heads, a divisor of `heads`; `None` for as many as heads.
        mlp_ratio: hidden width of the feed-forward part divided by `model_dim`.
        activation: nonlinearity of the feed-forward part.
        encoder: what mixes source positions, or a pattern of mixers that is repeated over depth.
        decoder: the same for target positions; must be causal.
        cross: the same for the decoder's view of the source.
        norm: kind of norm.
        order: norm before (`pre`) or after (`post`) each part.
        absolute: absolute position vectors added to both embeddings.
        dropout: probability of residual and embedding dropout.
        tied: whether the readout uses the decoder's embedding table.

    Source: Vaswani et al. 2017, arXiv 1706.03762, figure 1.
    """

    encoder_depth: Annotated[int, Ge(1)] = 2
    decoder_depth: Annotated[int, Ge(1)] = 2
    model_dim: Annotated[int, Ge(1)] = 128
    heads: Annotated[int, Ge(1)] = 4
    kv_heads: Annotated[int, Ge(1)] | None = None
    mlp_ratio: Annotated[float, Gt(0.0)] = 4.0
    activation: Activation = "gelu"
    encoder: Mixer | tuple[Mixer, ...] = Attention(position=(Rotary(),), mask=Padding())
    decoder: Mixer | tuple[Mixer, ...] = Attention(position=(Rotary(),), mask=Causal())
    cross: Mixer | tuple[Mixer, ...] = Attention(mask=Padding())
    norm: NormKind = "layer"
    order: Order = "pre"
    absolute: Absolute = "none"
    dropout: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    tied: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "EncoderDecoderNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return EncoderDecoderNetwork(self, sizes, rngs)


class EncoderDecoderNetwork(Network):
    """The network of `EncoderDecoder`.

    Weights are named `encoder.<block>.self`, `decoder.<block>.self` and `decoder.<block>.cross`.
    """

    def __init__(self, chosen: EncoderDecoder, sizes: Sizes, rngs: nnx.Rngs) -> None:
        if not (sizes.source_vocabulary and sizes.source_length):
            raise ValueError(
                f"sizes = {sizes}: an encoder-decoder needs a task with a source; use a decoder for this task"
            )
        refuse_future("decoder", chosen.decoder)
        style = Style(
            width=Width.of(chosen.model_dim, chosen.heads, chosen.kv_heads),
            mlp_ratio=chosen.mlp_ratio,
            activation=chosen.activation,
            norm=chosen.norm,
            order=chosen.order,
            dropout=chosen.dropout,
        )
        dim, absolute = chosen.model_dim, chosen.absolute
        self.source_embedding = Embedding(
            sizes.source_vocabulary, dim, absolute=absolute, length=sizes.source_length, rngs=rngs
        )
        self.embedding = Embedding(sizes.vocabulary, dim, absolute=absolute, length=sizes.length, rngs=rngs)
        self.encoder = make_stack(chosen.encoder_depth, style, chosen.encoder, padded=True, rngs=rngs)
        self.decoder = make_stack(chosen.decoder_depth, style, chosen.decoder, cross=chosen.cross, rngs=rngs)
        self.readout = Readout(dim, sizes.vocabulary, tied=chosen.tied, rngs=rngs)
        self.dropout = chosen.dropout

    def encode(
        self, batch: Batch, *, key: jax.Array | None = None, look: bool = False
    ) -> tuple[jax.Array, Maps]:
        """What the encoder makes of the source, `[batch, source_length, model_dim]`, and its weights."""
        k = keys(key, 2)
        x = dropout(self.source_embedding(batch["source"]), self.dropout, k[0])
        x, maps = self.encoder(x, data={"length": batch["source_length"]}, key=k[1], look=look)
        return x, {f"encoder.{name}": own for name, own in maps.items()}

    def __call__(self, batch: Batch, *, key: jax.Array | None = None, look: bool = False) -> Output:
        k = keys(key, 3)
        memory, maps = self.encode(batch, key=k[0], look=look)
        x = dropout(self.embedding(batch["inputs"]), self.dropout, k[1])
        real = {"length": batch["source_length"]}
        x, found = self.decoder(x, memory, memory_data=real, key=k[2], look=look)
        maps |= {f"decoder.{name}": own for name, own in found.items()}
        return Output(self.readout(x, self.embedding), maps)

    def start(self, batch: Batch, length: int) -> Any:
        memory, _ = self.encode(batch)
        rows = memory.shape[0]
        return {
            "blocks": self.decoder.start(rows, length, self.embedding.dtype, memory),
            "position": jnp.zeros(rows, jnp.int32),
            "source_length": jnp.asarray(batch["source_length"]),
        }

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        x = self.embedding(tokens, state["position"])
        real = {"length": state["source_length"]}
        x, blocks = self.decoder.step(x, state["blocks"], memory_data=real)
        after = dict(state, blocks=blocks, position=state["position"] + tokens.shape[1])
        return self.readout(x, self.embedding), after
