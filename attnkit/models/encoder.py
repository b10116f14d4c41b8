"""An encoder that predicts at every place of its source: masked-token training."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx

from attnkit.layers.embedding import Readout, SourceAbsolute
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.models.block_options import Blocks, source
from attnkit.models.contract import Batch, Network, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import within
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer


@options
class Encoder(Blocks):
    """Blocks that see the whole source, and a label or a number for each of its places.

    Attributes:
        depth: number of blocks.
        mixer: mixer of positions, or a pattern of mixers that is repeated over depth.
        absolute: absolute position vectors added to the embedding.
        segment_vectors: whether a vector for its sentence or turn is added to each token.
        tied: whether the readout uses the embedding table; needs equal vocabularies.

    Source: Devlin et al. 2018 (BERT), arXiv 1810.04805, section 3.
    """

    depth: Annotated[int, Ge(0)] = 4
    mixer: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Padding())
    absolute: SourceAbsolute = "none"
    segment_vectors: bool = False
    tied: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "EncoderNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return EncoderNetwork(self, sizes, rngs)


class EncoderNetwork(Network):
    """The network of `Encoder`. Its points are `encoder.<block>...` and `logits`.

    There is nothing to write: a step gives the logits of the next places, whatever the tokens.
    """

    def __init__(self, config: Encoder, sizes: Sizes, rngs: nnx.Rngs) -> None:
        if config.tied and sizes.vocabulary != sizes.source_vocabulary:
            raise ValueError(
                f"tied = True: the source has {sizes.source_vocabulary} tokens and the labels "
                f"{sizes.vocabulary}; say tied = False"
            )
        self.encoder = config.source_encoder(
            sizes,
            config.depth,
            config.mixer,
            absolute=config.absolute,
            segment_vectors=config.segment_vectors,
            rngs=rngs,
        )
        self.readout = Readout(config.model_dim, sizes.vocabulary, tied=config.tied, rngs=rngs)

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        real = Data(scalar={"length": batch["source_length"]})
        segment = batch.get("source_segment")
        with within("encoder"):
            x, penalty = self.encoder(source(batch), data=real, segment=segment, key=example_keys(batch, key))
        return Output(self.readout(x, self.encoder.embedding), penalty)

    def start(self, batch: Batch, length: int) -> Any:
        logits = self(batch).logits
        return {"logits": logits, "position": jnp.zeros(logits.shape[0], jnp.int32)}

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        new = tokens.shape[1]
        places = state["position"][:, None] + jnp.arange(new)
        logits = jnp.take_along_axis(state["logits"], places[..., None], axis=1, mode="clip")
        return logits, dict(state, position=state["position"] + new)
