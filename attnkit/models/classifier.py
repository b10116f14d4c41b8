"""One answer for a whole source: an encoder, a pool, a readout."""

from typing import Annotated

import jax
from annotated_types import Ge
from flax import nnx

from attnkit.layers.conv_window import exists
from attnkit.layers.dropout import keys
from attnkit.layers.embedding import SourceAbsolute
from attnkit.layers.pooling import PoolLayer
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.models.block_options import Blocks, source
from attnkit.models.classification import Answer, Classifying
from attnkit.models.contract import Batch, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import view, within
from attnkit.pooling.contract import Pool
from attnkit.pooling.mean import Mean
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer


@options
class Classifier(Blocks):
    """A class, or a number, for the whole source.

    Attributes:
        depth: number of blocks; with 0, what is pooled are the embeddings themselves.
        mixer: mixer of positions, or a pattern of mixers that is repeated over depth.
        pool: pool that makes one vector, or a few, of all.
        absolute: absolute position vectors added to the embedding.
        segment_vectors: whether a vector for its sentence or turn is added to each token.

    Source: Vaswani et al. 2017, arXiv 1706.03762 (encoder); the pool's own.
    """

    depth: Annotated[int, Ge(0)] = 2
    mixer: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Padding())
    pool: Pool = Mean()
    absolute: SourceAbsolute = "none"
    segment_vectors: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "ClassifierNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return ClassifierNetwork(self, sizes, rngs)


class ClassifierNetwork(Classifying):
    """The network of `Classifier`. Its points are `encoder.<block>...`, `document.pool.weights`, `logits`."""

    def __init__(self, config: Classifier, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.encoder = config.source_encoder(
            sizes,
            config.depth,
            config.mixer,
            absolute=config.absolute,
            segment_vectors=config.segment_vectors,
            rngs=rngs,
        )
        self.pool = PoolLayer(config.pool, config.model_dim, rngs=rngs)
        self.answer = Answer(
            self.pool.outputs, config.model_dim, sizes.vocabulary, rate=config.dropout, rngs=rngs
        )

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 2)
        real = Data(scalar={"length": batch["source_length"]})
        segment = batch.get("source_segment")
        with within("encoder"):
            x, penalty = self.encoder(source(batch), data=real, segment=segment, key=k[0])
        pooled = self.pool(x, exists(real.scalar["length"], x.shape[1]))
        view("document.pool.weights", lambda: pooled.weights[:, :, None], self.pool.map_kind)
        return Output(self.answer(pooled.output, k[1]), pooled.penalty + penalty)
