"""Every model in a small form, with a batch to read: what the contract tests run over."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attnkit.layers.token_mixer.convolution import Convolution
from attnkit.layers.token_mixer.gru import Gru
from attnkit.layers.token_mixer.lstm import Lstm
from attnkit.layers.token_mixer.min_gru import MinGru
from attnkit.masks.causal import Causal
from attnkit.models.captioner import Captioner
from attnkit.models.classifier import Classifier
from attnkit.models.contract import Model, Sizes
from attnkit.models.decoder import Decoder
from attnkit.models.encoder import Encoder
from attnkit.models.encoder_decoder import EncoderDecoder
from attnkit.models.hierarchical_classifier import HierarchicalClassifier
from attnkit.models.hierarchical_encoder_decoder import HierarchicalEncoderDecoder
from attnkit.models.perceiver import Perceiver
from attnkit.models.rnn_encoder_decoder import RnnEncoderDecoder
from attnkit.pooling.learned_query import LearnedQuery
from attnkit.pooling.self_attentive import SelfAttentive
from attnkit.scored.preset.attention import Attention

BATCH, LENGTH, SOURCE, VOCABULARY, WORDS, WIDTH = 3, 7, 6, 11, 13, 5
WRITE = Sizes(vocabulary=VOCABULARY, length=LENGTH)
TRANSLATE = Sizes(
    vocabulary=VOCABULARY, length=LENGTH, source_vocabulary=WORDS, source_length=SOURCE, segments=4
)
NUMBERS = Sizes(vocabulary=0, length=LENGTH, features=WIDTH)
PICTURE = Sizes(
    vocabulary=VOCABULARY, length=LENGTH, source_length=SOURCE, source_features=WIDTH, grid=(2, 3)
)
ANSWER = dataclasses.replace(TRANSLATE, length=1)
SMALL: dict[str, Any] = {"model_dim": 12, "heads": 2}
CAUSAL = Attention(mask=Causal())
LENGTHS = (6, 1, 4)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the sizes of a task for it.

    Attributes:
        model: options.
        sizes: of the task.
        writes: whether it reads what a decoder reads.
        reads: whether it reads a source.
    """

    model: Model
    sizes: Sizes
    writes: bool = True
    reads: bool = True


CASES = {
    "decoder": Case(
        Decoder(depth=1, absolute="learned", tied=True, short_convolution=3, mixer=CAUSAL, **SMALL),
        WRITE,
        reads=False,
    ),
    "decoder-hybrid": Case(
        Decoder(
            depth=4,
            mixer=(Gru(), Lstm(), Convolution(conv_size=2, dilation=2), MinGru()),
            mlp_ratio=0.0,
            canon="A",
            norm="rms",
            order="post",
            **SMALL,
        ),
        NUMBERS,
        reads=False,
    ),
    "encoder_decoder": Case(
        EncoderDecoder(
            encoder_depth=1,
            decoder_depth=1,
            segment_vectors=True,
            canon="ABCD",
            activation="geglu",
            **SMALL,
        ),
        TRANSLATE,
    ),
    "captioner": Case(
        Captioner(encoder_depth=1, decoder_depth=1, gate="tanh", absolute="sinusoidal", **SMALL), PICTURE
    ),
    "hierarchical_encoder_decoder": Case(
        HierarchicalEncoderDecoder(decoder_depth=1, word_pool=SelfAttentive(hops=2), **SMALL), TRANSLATE
    ),
    "perceiver-text": Case(Perceiver(output="text", latents=2, depth=1, **SMALL), TRANSLATE),
    "rnn-none": Case(RnnEncoderDecoder(model_dim=12, attention="none"), TRANSLATE),
    "rnn-bahdanau": Case(RnnEncoderDecoder(model_dim=12, cell=Lstm()), TRANSLATE),
    "rnn-luong": Case(RnnEncoderDecoder(model_dim=12, attention="luong"), TRANSLATE),
    "encoder": Case(
        Encoder(depth=1, mixer=Gru(bidirectional=True), **SMALL),
        dataclasses.replace(TRANSLATE, length=SOURCE),
        writes=False,
    ),
    "classifier": Case(
        Classifier(depth=1, pool=SelfAttentive(hops=3), short_convolution=3, **SMALL), ANSWER, writes=False
    ),
    "hierarchical_classifier": Case(
        HierarchicalClassifier(word_pool=LearnedQuery(heads=2), **SMALL), ANSWER, writes=False
    ),
    "hierarchical-rnn": Case(
        HierarchicalClassifier(
            words=Gru(bidirectional=True), sentences=Convolution(conv_size=3, causal=False), **SMALL
        ),
        dataclasses.replace(ANSWER, vocabulary=0),
        writes=False,
    ),
    "perceiver": Case(Perceiver(latents=2, depth=1, **SMALL), ANSWER, writes=False),
}


@functools.cache
def built(name: str, seed: int = 0) -> Any:
    """The network of a case as (graph, parameters); what starts at zero is moved away from it."""
    graph, params = nnx.split(CASES[name].model.build(CASES[name].sizes, nnx.Rngs(seed)))
    noise = iter(jax.random.split(jax.random.key(seed), 1000))
    moved = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(next(noise), a.shape), params)
    return graph, moved


def example(sizes: Sizes, seed: int = 0) -> dict[str, jax.Array]:
    """A batch with everything that a model of these sizes may read."""
    rng = np.random.default_rng(seed)
    batch: dict[str, np.ndarray] = {}
    if sizes.features:
        batch["features"] = rng.normal(size=(BATCH, sizes.length, sizes.features)).astype(np.float32)
    else:
        batch["inputs"] = rng.integers(0, max(1, sizes.vocabulary), (BATCH, sizes.length))
    if sizes.source_features:
        shape = (BATCH, sizes.source_length, sizes.source_features)
        batch["source_features"] = rng.normal(size=shape).astype(np.float32)
    elif sizes.source_length:
        batch["source"] = rng.integers(0, sizes.source_vocabulary, (BATCH, sizes.source_length))
    if sizes.source_length:
        batch["source_length"] = np.array(LENGTHS)
        batch["source_segment"] = np.array([[0, 0, 1, 1, 1, 2], [0] * 6, [0, 1, 2, 3, 0, 0]])
    return {name: jnp.asarray(array) for name, array in batch.items()}
