"""One answer for a document: words make sentences, sentences make the document."""

from typing import Annotated, ClassVar

import jax
import numpy as np
from annotated_types import Ge
from flax import nnx

from attnkit.layers.conv_window import exists
from attnkit.layers.dropout import keys
from attnkit.layers.embedding import SourceAbsolute
from attnkit.layers.hierarchy import Hierarchy, through
from attnkit.layers.pooling import PoolLayer
from attnkit.layers.stack import make_stack
from attnkit.masks.contract import Data, Mask, Needs
from attnkit.masks.padding import Padding
from attnkit.masks.same_document import SameDocument
from attnkit.models.block_options import Blocks, Mixers, need_segments, source
from attnkit.models.classification import Answer, Classifying
from attnkit.models.contract import Batch, Output, Sizes, example_keys
from attnkit.option_class import options
from attnkit.points import view, within
from attnkit.pooling.additive_pooling import AdditivePooling
from attnkit.pooling.contract import Pool
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.preset.attention import Attention
from attnkit.token_mixer import TokenMixer
from attnkit.variant import product_kind

WORDS = 64
SEGMENT = frozenset({"segment"})


@options
class HierarchicalClassifier(Blocks):
    """A class, or a number, for a source of sentences (or turns), which the network reads one by one.

    Attributes:
        word_depth: number of blocks over the words of each sentence.
        sentence_depth: number of blocks over the sentences.
        words: mixer of the words of a sentence; it must keep to the sentence, as attention with the mask
            `SameDocument` does.
        sentences: mixer of sentences.
        word_pool: pool of the words of a sentence.
        sentence_pool: pool of the sentences of a document.
        absolute: absolute position vectors added to the words.

    Source: Yang et al. 2016 (HAN), NAACL N16-1174 (with `gru` as both mixers and additive pools); Zhang, Wei,
    Zhou 2019 (HIBERT), arXiv 1905.06566.
    """

    word_depth: Annotated[int, Ge(0)] = 1
    sentence_depth: Annotated[int, Ge(0)] = 1
    words: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=SameDocument())
    sentences: TokenMixer | tuple[TokenMixer, ...] = Attention(position=(Rotary(),), mask=Padding())
    word_pool: Pool = AdditivePooling()
    sentence_pool: Pool = AdditivePooling()
    absolute: SourceAbsolute = "none"

    def build(self, sizes: Sizes, rngs: nnx.Rngs) -> "HierarchicalClassifierNetwork":
        """The network with fresh parameters. Raises `ValueError` for parts that do not fit together."""
        return HierarchicalClassifierNetwork(self, sizes, rngs)


def make_hierarchy(
    config: Blocks,
    sizes: Sizes,
    depths: tuple[int, int],
    mixers: tuple[Mixers, Mixers],
    pool: Pool,
    *,
    absolute: SourceAbsolute,
    rngs: nnx.Rngs,
) -> Hierarchy:
    """Words to sentences to vectors of sentences that know each other.

    Args:
        config: options of the blocks.
        sizes: of the task.
        depths: number of blocks over words and over sentences.
        mixers: of words and of sentences.
        pool: makes a sentence of its words.
        absolute: absolute position vectors added to the words.
        rngs: source of the initial values.

    Raises:
        ValueError: if the task has no sentences, or words would see other sentences.
    """
    need_segments(type(config).__name__, sizes)
    refuse_strangers(mixers[0])
    reader = config.source_encoder(sizes, depths[0], mixers[0], absolute=absolute, rngs=rngs)
    layer = PoolLayer(pool, config.model_dim, rngs=rngs)
    above = make_stack(depths[1], config.style(), mixers[1], padded=True, encoder=True, rngs=rngs)
    return Hierarchy(reader, layer, above, most=sizes.segments, dim=config.model_dim, rngs=rngs)


def refuse_strangers(mixers: Mixers) -> None:
    """Raise `ValueError` if a word could see the words of another sentence."""
    for mixer in mixers if isinstance(mixers, tuple) else (mixers,):
        mask = mixer.receptive_field()
        apart = mask is not None and "segment" in mask.needs().query and not mixes_segments(mask)
        resets = getattr(mixer, "keeps_segments", False) or getattr(mixer, "documents", False)
        if not (apart or resets):
            raise ValueError(
                f"words = {type(mixer).__name__} with mask {mask}: a word would see other sentences; use "
                "attention with mask & SameDocument(), a mixer with documents = True, a gru, lstm or "
                "convolution"
            )


def mixes_segments(mask: Mask) -> bool:
    """Whether it lets some of the first words see one of another sentence, as `SameDocument() | ...` does."""
    if not mask.needs() <= Needs(SEGMENT, SEGMENT, frozenset({"length"})):
        return False
    i, j = np.arange(WORDS)[:, None], np.arange(WORDS)[None]
    query, key = {"segment": np.zeros_like(i)}, {"segment": np.ones_like(j)}
    return any(
        np.any(mask.allows(i, j, Data(query, key, {"length": WORDS}, head)))
        for head in range(mask.heads() or 1)
    )


class HierarchicalClassifierNetwork(Classifying):
    """The network of `HierarchicalClassifier`.

    Its points are `encoder.words.<block>...`, `encoder.sentences.<block>...`, `logits`, and
    `document.pool.token_map`: the weight of a sentence times that of a word in it.
    """

    maps: ClassVar[tuple[str, ...]] = (
        "encoder.words.*.weights",
        "encoder.sentences.*.token_map",
        "document.pool.token_map",
    )

    def __init__(self, config: HierarchicalClassifier, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.hierarchy = make_hierarchy(
            config,
            sizes,
            (config.word_depth, config.sentence_depth),
            (config.words, config.sentences),
            config.word_pool,
            absolute=config.absolute,
            rngs=rngs,
        )
        self.pool = PoolLayer(config.sentence_pool, config.model_dim, rngs=rngs)
        self.answer = Answer(
            self.pool.outputs, config.model_dim, sizes.vocabulary, rate=config.dropout, rngs=rngs
        )

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Output:
        k = keys(example_keys(batch, key), 2)
        with within("encoder"):
            found = self.hierarchy(source(batch), batch["source_segment"], batch["source_length"], key=k[0])
        real = exists(found.number, found.sentences.shape[1])
        pooled = self.pool(found.sentences, real)
        kind = product_kind(self.pool.map_kind, self.hierarchy.pool.map_kind)
        view("document.pool.token_map", lambda: through(pooled.weights[:, :, None], found.words), kind)
        return Output(self.answer(pooled.output, k[1]), pooled.penalty + found.penalty)
