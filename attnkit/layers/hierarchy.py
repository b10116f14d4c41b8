"""From words to sentences to a document."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from attnkit.layers.contract import is_map, token_maps
from attnkit.layers.conv_window import exists
from attnkit.layers.dropout import keys
from attnkit.layers.linear import Linear
from attnkit.layers.pooling import PoolLayer
from attnkit.layers.source_encoder import SourceEncoder
from attnkit.layers.stack import Stack
from attnkit.masks.contract import Data
from attnkit.points import reading, view, within
from attnkit.variant import product_kind


class Document(NamedTuple):
    """An encoded document.

    Attributes:
        tokens: `[batch, length, dim]`, what each word is within its sentence.
        sentences: `[batch, sentences, dim]`, what each sentence is within the document.
        words: `[batch, hops, sentences, length]`, the weights of the words that made each sentence.
        number: `[batch]`, how many sentences there are.
        penalty: `[batch]`, mean of the pool's over sentences, and that of the layers.
    """

    tokens: Float[Array, "batch length dim"]
    sentences: Float[Array, "batch sentences dim"]
    words: Float[Array, "batch hops sentences length"]
    number: Int[Array, "batch"]
    penalty: Float[Array, "batch"]


class Hierarchy(nnx.Module):
    """Words attend within their sentence, each sentence is pooled, sentences attend to each other.

    Points of the stacks are `words.<block>...` and `sentences.<block>...`;
    `sentences.<block>.self.token_map` has the weights between sentences as weights between their words.

    Args:
        words: reads the words; its mixers must keep to the segment of the query.
        pool: makes a sentence of its words.
        sentences: blocks over the sentences.
        most: most sentences of a document.
        dim: width of all vectors.
        rngs: source of the initial values.

    Source: Yang et al. 2016 (HAN), NAACL N16-1174, with recurrent networks for both stacks; Zhang, Wei, Zhou
    2019 (HIBERT), arXiv 1905.06566, section 3.1, with attention.
    """

    def __init__(
        self, words: SourceEncoder, pool: PoolLayer, sentences: Stack, *, most: int, dim: int, rngs: nnx.Rngs
    ) -> None:
        self.words, self.pool, self.sentences, self.most = words, pool, sentences, most
        several = pool.outputs > 1
        self.join = Linear(pool.outputs * dim, dim, rngs=rngs) if several else None

    def __call__(
        self,
        tokens: Array,
        segment: Int[Array, "batch length"],
        length: Int[Array, "batch"],
        *,
        key: jax.Array | None = None,
    ) -> Document:
        """The document of the first `length` tokens, `segment` being their sentences, counted from 0."""
        k = keys(key, 2)
        data = Data.segments(segment, length=length)
        with within("words"):
            x, asked = self.words(tokens, data=data, segment=segment, key=k[0])
        real = exists(length, segment.shape[1])
        member = (segment[:, None] == jnp.arange(self.most)[:, None]) & real[:, None]
        pooled = self.pool.parts(x, member)
        joined = pooled.output.reshape(*pooled.output.shape[:2], -1)
        joined = joined if self.join is None else self.join(joined)
        count = jnp.max(jnp.where(real, segment + 1, 0), axis=1)
        words = jnp.swapaxes(pooled.weights, 1, 2)
        with within("sentences"):
            run = reading(self.sentences, read=is_map)
            (y, more), found = run(joined, data=Data(scalar={"length": count}), key=k[1])
            for name, own in token_maps(found).items():
                kind = product_kind(self.sentences.map_kind, self.pool.map_kind)
                view(f"{name}.token_map", functools.partial(spread, own, member, words), kind)
        penalty = jnp.sum(jnp.asarray(pooled.penalty), axis=1) / jnp.maximum(count, 1)
        return Document(x, y, words, count, penalty + asked + more)


def through(
    sentences: Float[Array, "batch heads queries sentences"],
    words: Float[Array, "batch hops sentences length"],
) -> Float[Array, "batch maps queries length"]:
    """Weights of sentences times weights of their words, for each head and then each hop."""
    both = jnp.einsum("bhqs,brst->bhrqt", sentences, words)
    return both.reshape(both.shape[0], -1, *both.shape[3:])


def spread(
    weights: Float[Array, "batch heads sentences sentences"],
    member: Array,
    words: Float[Array, "batch hops sentences length"],
) -> Float[Array, "batch heads length length"]:
    """Weights between sentences as weights between words: a word looks where its sentence looks."""
    mean = jnp.mean(words, axis=1, keepdims=True)
    rows = jnp.einsum("bst,bhsu->bhtu", member.astype(weights.dtype), weights)
    return through(rows, mean)
