"""A decoder-only Transformer: a language model."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx

from attnkit.layers.causality import refuse_future
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.embedding import Absolute, Readout
from attnkit.layers.stack import make_stack
from attnkit.masks.causal import Causal
from attnkit.models.block_options import Blocks, target
from attnkit.models.contract import Batch, Network, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import point, within
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer


@options
class Decoder(Blocks):
    """Causal blocks between an embedding and a readout.

    Attributes:
        depth: number of blocks.
        mixer: mixer of positions, or a pattern of mixers that is repeated over depth.
        absolute: absolute position vectors added to the embedding.
        tied: whether the readout uses the embedding table.

    Source: Vaswani et al. 2017, arXiv 1706.03762; decoder-only Liu et al. 2018, arXiv 1801.10198.
    """

    autoregressive: ClassVar[tuple[str, ...]] = ("mixer",)
    depth: Annotated[int, Ge(1)] = 4
    mixer: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Causal())
    absolute: Absolute = "none"
    tied: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "DecoderNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return DecoderNetwork(self, sizes, rngs)


class DecoderNetwork(Network):
    """The network of `Decoder`. Its points are `decoder.<block>...` and `logits`."""

    def __init__(self, config: Decoder, sizes: Sizes, rngs: nnx.Rngs) -> None:
        refuse_future("mixer", config.mixer)
        self.embedding = config.decoder_embedding(sizes, config.absolute, rngs)
        self.stack = make_stack(config.depth, config.style(), config.mixer, rngs=rngs)
        self.readout = Readout(config.model_dim, sizes.vocabulary, tied=config.tied, rngs=rngs)
        self.dropout = config.dropout

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 2)
        with within("decoder"):
            x = point("embedding", dropout(self.embedding(target(batch)), self.dropout, k[0]))
            x, penalty = self.stack(x, key=k[1])
        return Output(self.readout(x, self.embedding), penalty)

    def start(self, batch: Batch, length: int) -> Any:
        self.embedding.check(length)
        rows = target(batch).shape[0]
        blocks = self.stack.start(rows, length, self.embedding.dtype)
        return {"blocks": blocks, "position": jnp.zeros(rows, jnp.int32)}

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        with within("decoder"):
            x = point("embedding", self.embedding(tokens, state["position"]))
            x, blocks = self.stack.step(x, state["blocks"])
        after = {"blocks": blocks, "position": state["position"] + tokens.shape[1]}
        return self.readout(x, self.embedding), after
