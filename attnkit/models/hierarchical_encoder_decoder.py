"""Sequence to sequence from a source of sentences or turns, attended to at both levels."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import nnx

from attnkit.layers.causality import refuse_future
from attnkit.layers.dropout import dropout, keys
from attnkit.layers.embedding import Absolute, Readout, SourceAbsolute
from attnkit.layers.hierarchy import Document
from attnkit.layers.stack import make_stack
from attnkit.layers.two_level import TwoLevel
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.masks.same_document import SameDocument
from attnkit.models.block_options import Blocks, source, target
from attnkit.models.contract import Batch, Network, Output, Sizes, example_keys
from attnkit.models.hierarchical_classifier import make_hierarchy
from attnkit.option_class import options
from attnkit.points import point, within
from attnkit.pooling.additive_pooling import AdditivePooling
from attnkit.pooling.contract import Pool
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer


@options
class HierarchicalEncoderDecoder(Blocks):
    """Words see their own sentence, sentences see each other, and the decoder sees words and sentences.

    Attributes:
        word_depth: number of blocks over the words of each sentence.
        sentence_depth: number of blocks over the sentences.
        decoder_depth: number of decoder blocks.
        words: mixer of the words of a sentence; it must keep to the sentence, as attention with the mask
            `SameDocument` does.
        sentences: mixer of sentences.
        word_pool: pool of the words of a sentence.
        decoder: mixer of target positions; must be causal.
        cross: the decoder's view of the words.
        cross_sentences: its view of the sentences.
        absolute: absolute position vectors added to what the decoder reads.
        source_absolute: the same for the words of the source.
        tied: whether the readout uses the decoder's embedding table.

    Source: Serban et al. 2015 (HRED), arXiv 1507.04808, for the two levels; Xing et al. 2017 (HRAN), arXiv
    1701.07149, for attention to both.
    """

    autoregressive: ClassVar[tuple[str, ...]] = ("decoder",)
    cross_attention: ClassVar[tuple[str, ...]] = ("cross", "cross_sentences")
    word_depth: Annotated[int, Ge(0)] = 1
    sentence_depth: Annotated[int, Ge(0)] = 1
    decoder_depth: Annotated[int, Ge(1)] = 2
    words: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=SameDocument())
    sentences: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Padding())
    word_pool: Pool = AdditivePooling()
    decoder: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Causal())
    cross: TokenMixer = Attention(mask=Padding())
    cross_sentences: TokenMixer = Attention(mask=Padding())
    absolute: Absolute = "none"
    source_absolute: SourceAbsolute = "none"
    tied: bool = False

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "HierarchicalEncoderDecoderNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return HierarchicalEncoderDecoderNetwork(self, sizes, rngs)


class HierarchicalEncoderDecoderNetwork(Network):
    """The network of `HierarchicalEncoderDecoder`.

    Its points are `encoder.words.<block>...`, `encoder.sentences.<block>...`, `decoder.<block>...`, `logits`;
    `decoder.<block>.cross.token_map` has heads over words, then heads over sentences spread over their words.
    """

    maps: ClassVar[tuple[str, ...]] = (
        "encoder.words.*.weights",
        "encoder.sentences.*.token_map",
        "decoder.*.self.weights",
        "decoder.*.cross.token_map",
    )

    def __init__(self, config: HierarchicalEncoderDecoder, sizes: Sizes, rngs: nnx.Rngs) -> None:
        refuse_future("decoder", config.decoder)
        self.hierarchy = make_hierarchy(
            config,
            sizes,
            (config.word_depth, config.sentence_depth),
            (config.words, config.sentences),
            config.word_pool,
            absolute=config.source_absolute,
            rngs=rngs,
        )
        self.embedding = config.decoder_embedding(sizes, config.absolute, rngs)
        both = TwoLevel(words=config.cross, sentences=config.cross_sentences, most=sizes.segments)
        self.decoder = make_stack(config.decoder_depth, config.style(), config.decoder, cross=both, rngs=rngs)
        self.readout = Readout(config.model_dim, sizes.vocabulary, tied=config.tied, rngs=rngs)
        self.dropout = config.dropout

    def encode(self, batch: Batch, *, key: jax.Array | None = None) -> tuple[Document, jax.Array, Data]:
        """The document, the memory of words and then sentences, and how many of each there are."""
        with within("encoder"):
            found = self.hierarchy(source(batch), batch["source_segment"], batch["source_length"], key=key)
        memory = jnp.concatenate([found.tokens, found.sentences], axis=1)
        length = jnp.asarray(batch["source_length"])
        return found, memory, Data(scalar={"length": length, "sentences": found.number})

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 3)
        found, memory, real = self.encode(batch, key=k[0])
        data = real.with_scalars(words=found.words)
        with within("decoder"):
            x = point("embedding", dropout(self.embedding(target(batch)), self.dropout, k[1]))
            x, penalty = self.decoder(x, memory, memory_data=data, key=k[2])
        return Output(self.readout(x, self.embedding), found.penalty + penalty)

    def start(self, batch: Batch, length: int) -> Any:
        self.embedding.check(length)
        _, memory, real = self.encode(batch)
        rows = memory.shape[0]
        return {
            "blocks": self.decoder.start(rows, length, self.embedding.dtype, memory, memory_data=real),
            "position": jnp.zeros(rows, jnp.int32),
            "real": real,
        }

    def step(self, state: Any, tokens: jax.Array) -> tuple[jax.Array, Any]:
        with within("decoder"):
            x = point("embedding", self.embedding(tokens, state["position"]))
            x, blocks = self.decoder.step(x, state["blocks"], memory_data=state["real"])
        after = dict(state, blocks=blocks, position=state["position"] + tokens.shape[1])
        return self.readout(x, self.embedding), after
