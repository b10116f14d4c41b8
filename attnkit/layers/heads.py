"""Parts of an attention layer: projections of tokens to heads, and of heads to tokens."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attnkit.layers.contract import Carry, TokenMixerLayer, Width
from attnkit.layers.linear import Linear
from attnkit.masks.padding import Padding
from attnkit.points import point
from attnkit.scored.contract import Scored
from attnkit.token_mixer import TokenMixer, no_cross_attention
from attnkit.variant import HeadShape, MapKind

Tokens = Float[Array, "batch tokens model_dim"]
Heads = Float[Array, "batch heads tokens dim"]
Maps = Float[Array, "batch heads queries keys"]


class InputProjection(nnx.Module):
    """The map from tokens to queries, keys and values.

    Attributes:
        shape: heads and widths as attention sees them.
        cached: heads and widths in the cache; `expand` makes keys and values of it.
    """

    shape: HeadShape
    cached: HeadShape

    @abc.abstractmethod
    def queries(self, x: Tokens) -> Heads:
        """Queries of every head."""

    @abc.abstractmethod
    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        """Keys `[batch, cached.kv_heads, tokens, cached.dim]` as they are cached, and values alike.

        Args:
            x: the tokens.
            carry: from the layers below.
        """

    def check_below(self, below: Sequence[TokenMixerLayer]) -> None:
        """Raise `ValueError` if the carry of the layers below will not have what `keys_values` needs."""

    def expand(self, k: Heads, v: Heads) -> tuple[Heads, Heads]:
        """Keys and values of attention, from those in the cache."""
        return k, v

    def copies(self, v: Heads) -> Heads:
        """Values as attention takes them, from those of `expand`: several times, if it needs that."""
        return v

    def decoding(self) -> "InputProjection":
        """The projection to decode with: another that gives the same results, if that costs less."""
        return self

    def finish(self, output: Heads) -> Heads:
        """The heads' outputs, from those of attention over the expanded values."""
        return output


class QueryTokens(NamedTuple):
    """The tokens of the queries.

    Attributes:
        x: their vectors.
        q: their queries, before positions.
        v: their own values as they are cached; `None` in cross-attention, where they have none.
    """

    x: Tokens
    q: Heads
    v: Heads | None


class OutputProjection(nnx.Module):
    """The map from the outputs of all heads to one vector for each token."""

    @abc.abstractmethod
    def __call__(self, output: Heads, query: QueryTokens) -> Tokens:
        """The layer's output, from that of `combine_heads`."""

    def combine_weights(self, weights: Maps, query: QueryTokens) -> Maps:
        """The weights that multiply values, from those of attention."""
        return weights

    def combine_heads(self, output: Heads, query: QueryTokens) -> Heads:
        """The outputs of heads, from those of attention; `combine_weights` of their weights."""
        return output

    def map_kind(self, kind: MapKind) -> MapKind:
        """Kind of `combine_weights`, from the kind of the weights of attention."""
        plain = type(self).combine_weights is OutputProjection.combine_weights
        return kind if plain else "signed"


class QKVProjection(InputProjection):
    """One matrix for the queries and one for keys and values together, its columns in order of the heads.

    Args:
        model_dim: width of a token's vector.
        shape: heads and widths.
        bias: initial value of all biases; `None` for maps without.
        rngs: source of the initial values.
    """

    def __init__(
        self, model_dim: int, shape: HeadShape, *, bias: float | None = None, rngs: nnx.Rngs
    ) -> None:
        self.shape = self.cached = shape
        self.query = Linear(model_dim, shape.heads * shape.dim, bias=bias, rngs=rngs)
        self.key_value = Linear(
            model_dim, shape.kv_heads * (shape.dim + shape.value_dim), bias=bias, rngs=rngs
        )
        k, v = jnp.split(self.key_value.kernel[...], [shape.kv_heads * shape.dim], axis=1)
        self.key_value.kernel[...] = columns_by_head(k, v, shape.kv_heads)

    def queries(self, x: Tokens) -> Heads:
        return split_heads(self.query(x), self.shape.heads)

    def keys_values(self, x: Tokens, carry: Carry) -> tuple[Heads, Heads]:
        both = split_heads(self.key_value(x), self.cached.kv_heads)
        return both[..., : self.cached.dim], both[..., self.cached.dim :]


class ConcatProjection(OutputProjection):
    """The outputs of all heads side by side, times a matrix.

    Args:
        model_dim: width of a token's vector.
        width: width of all heads' outputs together.
        scale: initial scale of the output.
        bias: initial value of all biases; `None` for a map without.
        rngs: source of the initial values.
    """

    def __init__(
        self, model_dim: int, width: int, *, scale: float, bias: float | None = None, rngs: nnx.Rngs
    ) -> None:
        self.output = Linear(width, model_dim, bias=bias, scale=scale, rngs=rngs)

    def __call__(self, output: Heads, query: QueryTokens) -> Tokens:
        return self.output(merge_heads(point("head_output", output)))


def split_heads(x: Tokens, heads: int) -> Heads:
    """Consecutive pieces of each token's vector, one for each head."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)


def columns_by_head(
    k: Float[Array, "*inputs keys"], v: Float[Array, "*inputs values"], heads: int
) -> Float[Array, "*inputs both"]:
    """Columns for the keys of all heads and for their values, as the key and the value of head after head.

    >>> import jax.numpy as jnp
    >>> columns_by_head(jnp.array([0, 1, 2, 3]), jnp.array([4, 5]), 2).tolist()
    [0, 1, 4, 2, 3, 5]
    """
    each = [a.reshape(*a.shape[:-1], heads, a.shape[-1] // heads) for a in (k, v)]
    return jnp.concatenate(each, axis=-1).reshape(*k.shape[:-1], k.shape[-1] + v.shape[-1])


def merge_heads(x: Heads) -> Tokens:
    """The heads' vectors of each token side by side."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def plain_shape(width: Width) -> HeadShape:
    """Heads whose queries, keys and values are of one width."""
    return HeadShape(width.heads, width.head_dim, width.head_dim, width.kv_heads)


def fitted(mixer: TokenMixer, scored: Scored, width: Width, *, cross: bool, padded: bool) -> Scored:
    """`scored` as a layer computes it: with `padded`, keys that do not exist are masked.

    Raises `ValueError` if with `cross` a token input belongs to queries: they are not the tokens remembered.
    """
    if cross:
        for part, needs in zip(scored.parts().all(), scored.inputs(plain_shape(width)).all(), strict=True):
            for name, need in needs.items():
                if need.side != "key":
                    owner = type(part).__name__
                    raise ValueError(
                        no_cross_attention(mixer, f"the input {name} of {owner} belongs to queries")
                    )
    if padded and "length" not in scored.mask.needs().scalar:
        return dataclasses.replace(scored, mask=scored.mask & Padding())
    return scored
