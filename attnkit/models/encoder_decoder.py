"""An encoder-decoder Transformer: sequence to sequence."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx

from attnkit.layers.block import Gate
from attnkit.layers.causality import refuse_future
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.embedding import Absolute, Readout, SourceAbsolute
from attnkit.layers.stack import StackOutput, make_stack
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.models.block_options import Blocks, source, target
from attnkit.models.contract import Batch, Network, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import point, within
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer


@options
class EncoderDecoder(Blocks):
    """An encoder that reads the source, and a causal decoder that attends to what the encoder made of it.

    Source tokens at `source_length` and beyond do not exist for any query, whatever mask a mixer has.

    Attributes:
        encoder_depth: number of encoder blocks.
        decoder_depth: number of decoder blocks.
        encoder: mixer of source positions, or a pattern of mixers that is repeated over depth.
        decoder: the same for target positions; must be causal.
        cross: the same for the decoder's view of the source.
        gate: `tanh` multiplies what cross-attention adds by a learned gate that starts closed.
        absolute: absolute position vectors added to both embeddings.
        source_absolute: the same for the source alone; `None` for the kind of `absolute`.
        segment_vectors: whether a vector for its sentence or turn is added to each source token.
        tied: whether the readout uses the decoder's embedding table.

    Source: Vaswani et al. 2017, arXiv 1706.03762, figure 1.
    """

    autoregressive: ClassVar[tuple[str, ...]] = ("decoder",)
    cross_attention: ClassVar[tuple[str, ...]] = ("cross",)
    encoder_depth: Annotated[int, Ge(0)] = 2
    decoder_depth: Annotated[int, Ge(1)] = 2
    encoder: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Padding())
    decoder: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Causal())
    cross: TokenMixer | tuple[TokenMixer, ...] = Attention(mask=Padding())
    gate: Gate = "none"
    absolute: Absolute = "none"
    source_absolute: SourceAbsolute | None = None
    segment_vectors: bool = False
    tied: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "EncoderDecoderNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return EncoderDecoderNetwork(self, sizes, rngs)


class EncoderDecoderNetwork(Network):
    """The network of `EncoderDecoder`. Points: `encoder.<block>...`, `decoder.<block>...`, `logits`."""

    def __init__(self, config: EncoderDecoder, sizes: Sizes, rngs: nnx.Rngs) -> None:
        refuse_future("decoder", config.decoder)
        self.encoder = config.source_encoder(
            sizes,
            config.encoder_depth,
            config.encoder,
            absolute=config.source_absolute or config.absolute,
            segment_vectors=config.segment_vectors,
            rngs=rngs,
        )
        self.embedding = config.decoder_embedding(sizes, config.absolute, rngs)
        style = config.style(config.gate)
        self.decoder = make_stack(config.decoder_depth, style, config.decoder, cross=config.cross, rngs=rngs)
        self.readout = Readout(config.model_dim, sizes.vocabulary, tied=config.tied, rngs=rngs)
        self.dropout = config.dropout

    def encode(self, batch: Batch, *, key: jax.Array | None = None) -> StackOutput:
        """The encoder's output `[batch, source_length, model_dim]`, and its penalty."""
        real = Data(scalar={"length": batch["source_length"]})
        segment = batch.get("source_segment")
        with within("encoder"):
            return self.encoder(source(batch), data=real, segment=segment, key=key)

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 3)
        memory, penalty = self.encode(batch, key=k[0])
        real = Data(scalar={"length": batch["source_length"]})
        with within("decoder"):
            x = point("embedding", dropout(self.embedding(target(batch)), self.dropout, k[1]))
            x, more = self.decoder(x, memory, memory_data=real, key=k[2])
        return Output(self.readout(x, self.embedding), penalty + more)

    def start(self, batch: Batch, length: int) -> Any:
        self.embedding.check(length)
        memory = self.encode(batch).output
        rows, real = memory.shape[0], Data(scalar={"length": jnp.asarray(batch["source_length"])})
        return {
            "blocks": self.decoder.start(rows, length, self.embedding.dtype, memory, memory_data=real),
            "position": jnp.zeros(rows, jnp.int32),
            "source_length": real.scalar["length"],
        }

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        real = Data(scalar={"length": state["source_length"]})
        with within("decoder"):
            x = point("embedding", self.embedding(tokens, state["position"]))
            x, blocks = self.decoder.step(x, state["blocks"], memory_data=real)
        after = dict(state, blocks=blocks, position=state["position"] + tokens.shape[1])
        return self.readout(x, self.embedding), after
